"""A changed run in an old folder asks what the change touches, and nothing else."""

import json
import sqlite3

import pytest
import yaml
from click.testing import CliRunner

from synth.cli.commands import main
from synth.dataset.differences import differences
from synth.dataset.provenance import Provenance
from synth.engines.messages import as_messages
from synth.errors import SynthError
from synth.store.folder import locked
from synth.store.store import Store
from tests.synth.scripted import PROMPT, answers, stage_of, write_task
from tests.synth.server import Failure, serve
from tests.tiny import save_tiny

FILES = ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "rejected.jsonl")


def synth(task, out, server, *more):
    words = ("run", task, "-o", out, "--model", "m", "--base-url", server.url, *more)
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def bytes_of(folder):
    return [(folder / name).read_bytes() if (folder / name).exists() else None for name in FILES]


def asked(server):
    """The requests since the last time, each by what determines its answer."""
    bodies = [json.dumps(body, sort_keys=True) for body in server.requests]
    server.requests.clear()
    assert len(bodies) == len(set(bodies))
    return set(bodies)


CHANGES = {
    "fewer rows": (("-n", 6), None, set()),
    "another split": (("--test-share", "0.5"), None, set()),
    "reasons anew": (("--set", "reasons.temperature=0.2"), None, {"reasons"}),
    "longer answers": (("--set", "outputs.max_tokens=99"), None, {"floor", "teacher"}),
    "another environment": (("--set", "conversations.environment=a bazaar"), None,
                            {"environment"}),
    "longer conversations": (("--max-turns", "4"), None, {"teacher", "environment"}),
    "shorter conversations": (("--max-turns", "1"), None, set()),
    "another prompt": ((), PROMPT + " Be brief.", {"inputs", "floor", "teacher", "reasons",
                                                   "environment"}),
    "another seed": (("--seed", "1"), None, {"inputs", "floor", "teacher", "reasons",
                                             "environment"}),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_keeps_every_answer_it_does_not_touch(tmp_path, change):
    options, prompt, stages = CHANGES[change]
    task = write_task(tmp_path / "t", inputs={"count": 10}, conversations={"max_turns": 3})
    with serve(answers, models=None) as server:
        assert synth(task, tmp_path / "out", server)[0] == 0
        before = asked(server)
        if prompt:
            (task / "prompt.md").write_text(prompt)
        code, printed = synth(task, tmp_path / "out", server, *options)
        assert code == 1, "a changed configuration was taken without a word"
        assert " -> " in printed
        assert "another folder with -o" in printed
        assert "--resume changed" in printed
        assert not server.requests
        code, printed = synth(task, tmp_path / "out", server, *options, "--resume", "changed")
        assert code == 0, printed
        anew = asked(server)
        # What a run with the new settings asks in a new folder, less what there was.
        assert synth(task, tmp_path / "new", server, *options)[0] == 0
        assert anew == asked(server) - before
    assert {stage_of(as_messages(json.loads(body)["messages"])) for body in anew} == stages
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "new")


def test_back_to_the_first_settings_nothing_is_asked(tmp_path):
    task = write_task(tmp_path / "t", inputs={"count": 6})
    with serve(answers, models=None) as server:
        synth(task, tmp_path / "out", server)
        first = bytes_of(tmp_path / "out")
        change = ("--set", "reasons.temperature=0.2", "--resume", "changed")
        synth(task, tmp_path / "out", server, *change)
        assert bytes_of(tmp_path / "out")[0] == first[0]  # the words are those of the script
        server.requests.clear()
        assert synth(task, tmp_path / "out", server, "--resume", "changed")[0] == 0
        assert not server.requests
    assert bytes_of(tmp_path / "out") == first


def test_a_run_that_was_killed_before_its_synth_yaml_goes_on(tmp_path, monkeypatch):
    task, out = write_task(tmp_path / "t"), tmp_path / "out"

    def killed(folder, config):
        raise KeyboardInterrupt

    with serve(answers, models=None) as server:
        with monkeypatch.context() as patched:
            patched.setattr("synth.dataset.provenance.write_config", killed)
            assert synth(task, out, server)[0] == 130
        assert (out / "store.sqlite").exists()
        assert not (out / "synth.yaml").exists()
        code, printed = synth(task, out, server)
    assert code == 0, printed
    assert bytes_of(out)[0]


def test_a_change_that_comes_to_nothing_leaves_the_folder_as_it_was(tmp_path):
    task, out = write_task(tmp_path / "t", inputs={"count": 6}), tmp_path / "out"
    names = ("synth.yaml", "README.md", "report.html", *FILES)
    with serve(answers) as server:
        with_model = ("--model", "tiny")
        assert synth(task, out, server, *with_model)[0] == 0
        before = [(out / name).read_bytes() if (out / name).exists() else None for name in names]
        code, printed = synth(task, out, server, "--model", "wrong", "--resume", "changed")
        assert code == 1
        assert "has no model 'wrong'" in printed
        after = [(out / name).read_bytes() if (out / name).exists() else None for name in names]
        assert after == before
        server.requests.clear()
        assert synth(task, out, server, *with_model)[0] == 0
        assert not server.requests


def test_a_change_that_is_stopped_leaves_no_dataset_of_the_old_settings(tmp_path):
    task, out = write_task(tmp_path / "t", inputs={"count": 6}), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, out, server)[0] == 0
        server.fault = lambda messages: (
            Failure(401) if stage_of(as_messages(messages)) == "reasons" else None
        )
        code, printed = synth(task, out, server, "--model", "other", "--resume", "changed")
        assert code == 1
        assert "so far: inputs" in printed or "refused the API key" in printed
        assert "other" in (out / "synth.yaml").read_text()
        assert bytes_of(out) == [None] * len(FILES)
        assert not (out / "README.md").exists()
        told = CliRunner().invoke(main, ["status", str(out)]).output
        assert "Exported: nothing yet" in told
        assert "--model other --resume changed" in told
        assert CliRunner().invoke(main, ["push", str(out), "--repo", "a/b", "--dry-run"]).exit_code


def test_other_weights_under_the_same_name_are_a_change(tmp_path):
    """The command is the same; the folder that it names holds another model."""
    (tmp_path / "synth.yaml").write_text(
        "task: {}\ntarget: {}\ngenerator: {}\nrun: {target: {}, generator: {}}\n"
        "models: {target: {model: m, revision: one}, generator: {model: m, revision: one}}\n"
    )
    same = {"model": "m", "revision": "one"}
    config = {"task": {}, "target": {}, "generator": {}, "run": {"target": {}, "generator": {}}}
    for may_change in (False, True):
        made = Provenance(tmp_path, dict(config), HasAnswers(), may_change)
        made.check()
        made.check_models({"target": same, "generator": same})
        other = {"target": {"model": "m", "revision": "two"}, "generator": same}
        if may_change:
            made.check_models(other)
            made.begin()
            assert "two" in (tmp_path / "synth.yaml").read_text()
        else:
            with pytest.raises(SynthError, match="revision: one -> two"):
                made.check_models(other)


class HasAnswers:
    def answers(self):
        return {"inputs": 3}


def test_differences_show_what_differs():
    seeds = [f"find thing {number}" for number in range(9)]
    old = {"seeds": seeds, "system": "x " * 80 + "end", "n": 1, "run": 3, "rows": [1, 2]}
    new = {"seeds": [*seeds[:8], "a lamp"], "system": "x " * 80 + "an end", "n": 2, "run": 4,
           "rows": [2, 1]}  # fmt: skip
    found = differences(old, new, ("run",))
    assert "seeds: - find thing 8" in found
    assert "seeds: + a lamp" in found
    assert "n: 1 -> 2" in found
    assert "rows: the same in another order" in found
    [text] = [line for line in found if line.startswith("system")]
    assert text.endswith("x x end -> ...x x x x x x x x x x x x an end")
    assert len(found) == 5


def test_the_second_run_on_a_folder_is_told_so(tmp_path):
    task = write_task(tmp_path / "t")
    with serve(answers, models=None) as server, locked(tmp_path / "out"):
        code, printed = synth(task, tmp_path / "out", server)
        assert code == 1
        assert "Another run is at work" in printed
        assert not server.requests


def test_the_store_waits_for_the_disk(tmp_path):
    """`synchronous` FULL (2): in WAL mode each commit is synced, so a power cut takes none."""
    store = Store(tmp_path / "store.sqlite")
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_write_ahead_log_cut_off_in_the_middle_costs_its_last_commits_only(tmp_path):
    """What a power cut may leave: the log's tail is missing or torn."""
    task = write_task(tmp_path / "t", inputs={"count": 8})
    with serve(answers, models=None) as server:
        assert synth(task, tmp_path / "whole", server)[0] == 0
        total = server.count
        writer = sqlite3.connect(tmp_path / "whole" / "store.sqlite")
        rows = writer.execute("SELECT * FROM answers ORDER BY rowid").fetchall()
        writer.close()
        (tmp_path / "out").mkdir()
        store = Store(tmp_path / "out" / "store.sqlite")
        for row in rows[: total // 2]:
            store._db.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", row)
            store._db.commit()
        # As the files lie there while the run is on, with the log's last pages torn off.
        torn = tmp_path / "torn"
        torn.mkdir()
        (torn / "store.sqlite").write_bytes((tmp_path / "out" / "store.sqlite").read_bytes())
        log = (tmp_path / "out" / "store.sqlite-wal").read_bytes()
        (torn / "store.sqlite-wal").write_bytes(log[: len(log) - len(log) // 3 - 100])
        store.close()
        left = Store(torn / "store.sqlite")
        kept = sum(left.answers().values())
        left.close()
        assert 0 < kept < total // 2
        (torn / "synth.yaml").write_bytes((tmp_path / "whole" / "synth.yaml").read_bytes())
        server.requests.clear()
        assert synth(task, torn, server)[0] == 0
        assert server.count == total - kept
    assert bytes_of(torn) == bytes_of(tmp_path / "whole")


def test_a_folder_of_the_version_before_goes_on_without_a_question(tmp_path):
    """Its synth.yaml knows neither filters nor stages."""
    task, out = write_task(tmp_path / "t", inputs={"count": 6}), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, out, server)[0] == 0
        config = yaml.safe_load((out / "synth.yaml").read_text())
        for key in ("filters", "stages"):
            assert config["task"].pop(key)
        (out / "synth.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        asked(server)
        before = bytes_of(out)
        assert synth(task, out, server)[0] == 0
        assert not asked(server)
        assert bytes_of(out) == before
        code, printed = synth(task, out, server, "--set", "filters=[role_markers]")
        assert code == 1
        assert "task.filters: - input_refusals" in printed
        assert not asked(server)


@pytest.mark.parametrize("filters", [None, ["role_markers", "reason_length"]])
def test_a_folder_of_the_version_before_tools_goes_on_without_a_question(tmp_path, filters):
    """Its synth.yaml has all filters but the one of tools' calls, or the task's own choice."""
    own = {"filters": filters} if filters else {}
    task, out = write_task(tmp_path / "t", inputs={"count": 6}, **own), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(task, out, server)[0] == 0
        config = yaml.safe_load((out / "synth.yaml").read_text())
        for key in ("tools", "slots", "kept", "thinking"):
            config["task"].pop(key)
        if not filters:
            config["task"]["filters"].remove("tool_calls")
        (out / "synth.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        asked(server)
        before = bytes_of(out)
        code, printed = synth(task, out, server)
        assert code == 0, printed
        assert not asked(server)
        assert bytes_of(out) == before
        # From here on the filter's name is known, and taking it out is a change.
        left_out = ["input_refusals"] if filters else config["task"]["filters"]
        code, printed = synth(task, out, server, "--set", f"filters={left_out}")
        assert code == 1
        assert "task.filters: - " in printed


def test_answers_stored_before_the_tokenizer_was_named_are_counted(tmp_path):
    task, out = write_task(tmp_path / "t", conversations={"max_turns": 1}), tmp_path / "out"
    known = ("--tokenizer", save_tiny(tmp_path / "tiny"))
    words = "stored answers of the target have no tokens"
    with serve(answers, None) as server:
        assert synth(task, out, server)[0] == 0
        assert synth(task, out, server)[0] == 0
        assert words not in (out / "run.log").read_text()
        stages = [stage_of(as_messages(body["messages"])) for body in server.requests]
        count = stages.count("floor") + stages.count("teacher")
        code, printed = synth(task, out, server, *known)
        assert code == 0, printed
        assert (out / "run.log").read_text().count(f"{count} {words}") == 1
        new = tmp_path / "new"
        assert synth(task, new, server, *known)[0] == 0
        assert words not in (new / "run.log").read_text()
