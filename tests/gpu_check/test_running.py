"""The command: what becomes of checks that fail, die, or come too late, and what it exits with."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time

import pytest

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check import groups, packages, report, running, worker
from benchmarks.gpu_check.checks import Check, Finding, Line, Machine, Skipped, TimeUp, run_check
from tests import ROOT

CPU = Machine("cpu")


def gives(value):
    return lambda machine: Finding(value, "as told")


def raises(error):
    def run(machine):
        raise error

    return run


@pytest.mark.parametrize(
    ("value", "tolerance", "at_least", "verdict"),
    [(0.1, 0.1, False, "passed"), (0.2, 0.1, False, "missed"), (0.2, 0.1, True, "passed"),
     (0.05, 0.1, True, "missed"), (7.0, None, False, "measured"),
     (math.nan, 0.1, False, "missed"), (math.nan, 0.1, True, "missed"),
     (math.inf, None, False, "missed")],
)  # fmt: skip
def test_a_value_is_judged_by_its_tolerance(value, tolerance, at_least, verdict):
    line = run_check(Check("c", gives(value), "nats", tolerance, at_least), "g", CPU)
    assert line.verdict == verdict
    assert line.value == (value if math.isfinite(value) else None)
    assert "as told" in line.why
    json.dumps(line.value, allow_nan=False)


def test_what_a_check_raises_is_its_line():
    line = run_check(Check("c", raises(ValueError("\nno kernel\nmore"))), "g", CPU)
    assert (line.verdict, line.why) == ("failed", "ValueError: no kernel")
    line = run_check(Check("c", raises(Skipped("flash_attn is not installed"))), "g", CPU)
    assert (line.verdict, line.why) == ("skipped", "flash_attn is not installed")
    line = run_check(Check("c", raises(TimeUp("still training"))), "g", CPU)
    assert (line.verdict, line.why) == ("not run", "still training")


def test_a_package_that_is_missing_is_named_with_its_cure(monkeypatch):
    packages.need("liger_kernel")
    monkeypatch.setitem(packages.PACKAGES, "no_such_module", ("nothing", "`pip install it`"))
    with pytest.raises(Skipped, match="no_such_module is not installed: `pip install it`"):
        packages.need("no_such_module")


def test_a_check_that_leaves_something_running_does_not_hold_up_the_end(group, monkeypatch):
    monkeypatch.setenv("GPU_CHECK_TEST", "left running")
    started = time.monotonic()
    lines = list(running.run_group(group, Machine("cpu", time.time() + 300)))
    assert [(line.name, line.verdict) for line in lines] == [("leaves", "measured")]
    assert time.monotonic() - started < 60


def leaves_a_thread(machine):
    threading.Thread(target=time.sleep, args=(60,)).start()
    return Finding(0.0)


def checks_here(machine):
    """A group for the tests: `running` starts real processes, which find it by this name."""
    if os.environ.get("GPU_CHECK_TEST") == "slow":
        return [Check("fast", gives(0.0), tolerance=1.0),
                Check("slow", lambda here: time.sleep(60) or Finding(0.0)),
                Check("later", gives(0.0))]  # fmt: skip
    if os.environ.get("GPU_CHECK_TEST") == "left running":
        return [Check("leaves", leaves_a_thread)]
    return [
        Check("good", gives(0.0), tolerance=1.0),
        Check("dies", lambda here: os.kill(os.getpid(), signal.SIGSEGV) or Finding(0.0)),
        Check("bad", gives(2.0), tolerance=1.0),
        Check("last", gives(1.0)),
    ]


@pytest.fixture
def group(monkeypatch, tmp_path):
    """The tests' own group, in the processes that are started, too."""
    there = "from benchmarks.gpu_check import groups\nfrom tests.gpu_check import test_running\n" \
        "groups.checks_of = lambda group, machine: test_running.checks_here(machine)\n" \
        "from benchmarks.gpu_check import worker\nworker.checks_of = groups.checks_of\n" \
        "worker.main()\n"  # fmt: skip
    starter = tmp_path / "starter.py"
    starter.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{there}")
    plain = running.subprocess.Popen

    def started(arguments, **more):
        return plain([sys.executable, str(starter), *arguments[3:]], **more)

    monkeypatch.setattr(running.subprocess, "Popen", started)
    return "exactness"


def test_a_check_that_ends_its_process_is_a_line_and_the_next_ones_run(group):
    lines = list(running.run_group(group, Machine("cpu", time.time() + 300)))
    assert [(line.name, line.verdict) for line in lines] == [
        ("good", "passed"), ("dies", "failed"), ("bad", "missed"), ("last", "measured")
    ]  # fmt: skip
    assert "its process ended with signal 11" in lines[1].why
    assert report.status(lines) == 1


def test_what_the_time_does_not_reach_is_told(group, monkeypatch):
    monkeypatch.setenv("GPU_CHECK_TEST", "slow")
    monkeypatch.setattr(running, "GRACE", 0.0)
    lines = list(running.run_group(group, Machine("cpu", time.time() + 6)))
    assert [(line.name, line.verdict) for line in lines] == [
        ("fast", "passed"), ("slow", "failed"), ("later", "not run")
    ]  # fmt: skip
    assert [line.why for line in lines[1:]] == [running.STILL_RUNNING, running.TIME_IS_UP]
    assert report.status(lines) == 1
    assert report.status(lines[2:]) == 0
    [line] = running.run_group(group, Machine("cpu", time.time() - 1))
    assert (line.verdict, line.why) == ("not run", running.TIME_IS_UP)


def test_a_process_begins_no_check_when_the_time_is_up(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "checks_of", lambda group, machine: checks_here(machine))
    file = tmp_path / "lines"
    assert worker.work("g", Machine("cpu", time.time() - 1), file) == worker.TIME_UP
    [told] = map(json.loads, file.read_text().splitlines())
    assert told == {"names": ["good", "dies", "bad", "last"]}


LINES = [
    Line("a", "one", "passed", 0.5, "nats", 1.0),
    Line("a", "two", "skipped", why="[bold] needs a GPU"),
    Line("a", "three", "skipped", why="[bold] needs a GPU"),
    Line("b", "four", "measured", 12345.6, "tokens/s"),
]


def command_line(monkeypatch, tmp_path, lines, capsys):
    out = tmp_path / "deep" / "found.json"
    monkeypatch.setattr(command, "run_groups", lambda machine, only: iter(lines))
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--output", str(out)])
    monkeypatch.setattr(packages, "card", dict)
    with pytest.raises(SystemExit) as ended:
        command.main()
    return ended.value.code, capsys.readouterr().out, json.loads(out.read_text())


def test_without_a_gpu_that_is_said_in_one_line(monkeypatch, tmp_path, capsys):
    code, printed, found = command_line(monkeypatch, tmp_path, LINES, capsys)
    assert code == 0
    assert printed.splitlines()[0].startswith("no GPU")
    assert "1 passed, 2 skipped, 1 measured" in " ".join(printed.split())
    assert "[bold]" in printed
    assert found["device"] == "cpu"
    assert found["card"] == {}
    assert found["verdicts"] == {"passed": 1, "skipped": 2, "measured": 1}
    assert found["versions"]["torch"]
    assert [line["name"] for line in found["lines"]] == ["one", "two", "three", "four"]
    assert found["lines"][0]["tolerance"] == 1.0


@pytest.mark.parametrize("verdict", ["missed", "failed"])
def test_a_missed_tolerance_is_status_1(monkeypatch, tmp_path, capsys, verdict):
    lines = [*LINES, Line("b", "five", verdict, 3.0, "", 1.0)]
    assert command_line(monkeypatch, tmp_path, lines, capsys)[0] == 1


def test_lines_left_out_for_one_reason_are_one_row():
    assert [(line.name, more) for line, more in report.merged(LINES)] == [
        ("one", 0), ("two", 1), ("four", 0)
    ]  # fmt: skip


def test_no_two_checks_have_one_name():
    names = [check.name for group in groups.GROUPS for check in groups.checks_of(group, CPU)]
    assert len(names) == len(set(names)) > 30


def test_the_page_has_the_packages_and_the_groups():
    page = (ROOT / "docs" / "gpu.md").read_text()
    for module, (what, how) in packages.PACKAGES.items():
        assert f"| `{module}` | {what} | {how} |" in page
    assert [row.split("`")[1] for row in page.splitlines() if row.startswith("| `")] == [
        *packages.PACKAGES, *groups.GROUPS
    ]  # fmt: skip
