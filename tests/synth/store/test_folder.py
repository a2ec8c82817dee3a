"""The output folder on any platform: its lock, its encoding, and folders of earlier versions."""

import ast
import logging
import os
import subprocess
import sys
import time

import pytest

from synth.errors import SynthError
from synth.secrets import REDACTED, redactor
from synth.store import folder as store_folder
from synth.store.folder import is_locked, locked, logged, replace_text, sync_folder
from tests import ROOT
from tests.synth.cli.commands_run import bytes_of, run_command, synth
from tests.synth.scripted import answers, write_task
from tests.synth.server import serve

HOLD = """
import sys, time
from pathlib import Path
from synth.store.folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
# As on Windows: no fcntl, and a folder that can't be opened.
WINDOWS = """
import os, sys
from pathlib import Path
sys.modules["fcntl"] = None
def no_folders(path, *more, _open=os.open, **other):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return _open(path, *more, **other)
os.open = no_folders
import synth.store.folder
synth.store.folder.SYNCS_FOLDERS = False
from synth.cli import main
main(sys.argv[1:])
"""


def test_a_whole_run_without_fcntl_and_without_opening_a_folder(tmp_path):
    def run(code, *arguments):
        done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    task = write_task(tmp_path / "t", inputs={"count": 12})
    with serve(answers, models=None) as server:
        assert synth(*run_command(task, tmp_path / "whole", server))[0] == 0
        asked = server.count
        assert "12 rows" in run(WINDOWS, *run_command(task, tmp_path / "out", server))
        assert server.count == 2 * asked
        run(WINDOWS, *run_command(task, tmp_path / "out", server))
        assert server.count == 2 * asked
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert "Rows finished: 12 of 12" in run(WINDOWS, "status", tmp_path / "out")


def test_a_run_that_was_killed_holds_nothing(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    assert is_locked(tmp_path)
    with pytest.raises(SynthError, match="Another run is at work"), locked(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    until = time.monotonic() + 10
    while is_locked(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        pass


def test_a_folder_of_an_earlier_version_has_no_lock_and_goes_on(tmp_path):
    task, out = write_task(tmp_path / "t", inputs={"count": 12}), tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(*run_command(task, out, server))[0] == 0
        (out / "run.lock").unlink()
        before, asked = bytes_of(out), server.count
        assert "at work" not in synth("status", out)[1].replace("No run is at work", "")
        assert not (out / "run.lock").exists()  # looking changes nothing
        assert synth(*run_command(task, out, server))[0] == 0
        assert server.count == asked
    assert bytes_of(out) == before


def test_a_folder_that_can_t_be_opened_is_not_synced(tmp_path, monkeypatch):
    monkeypatch.setattr(store_folder, "SYNCS_FOLDERS", False)
    monkeypatch.setattr(os, "open", None)
    sync_folder(tmp_path)


def test_lines_end_as_they_are_written_on_any_platform(tmp_path):
    replace_text(tmp_path / "a", "ä\nb\r\n")
    assert (tmp_path / "a").read_bytes() == "ä\nb\r\n".encode()


def test_what_is_written_and_logged_holds_no_known_secret(tmp_path):
    redactor.register("a-secret-of-files")
    replace_text(tmp_path / "a", "x a-secret-of-files y")
    assert (tmp_path / "a").read_text(encoding="utf-8") == f"x {REDACTED} y"
    with logged(tmp_path):
        logging.getLogger("synth").warning("said %s", "a-secret-of-files \x1b[2J")
    log = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert log.endswith(f"said {REDACTED} \\x1b[2J\n")


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def without_encoding(call):
    """Whether a call opens a text file in the platform's encoding."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name not in {
        "open",
        "read_text",
        "write_text",
        "FileHandler",
        "fdopen",
        "NamedTemporaryFile",
    }:
        return False
    if name == "open" and getattr(getattr(call.func, "value", None), "id", "") == "os":
        return False
    words = [one.value for one in ast.walk(call) if isinstance(one, ast.Constant)]
    binary = any(
        isinstance(word, str) and "b" in word and set(word) <= set("rwxab+") for word in words
    )
    return not binary and "encoding" not in {keyword.arg for keyword in call.keywords}


def test_no_text_is_read_or_written_in_the_platform_s_encoding():
    files = sorted((ROOT / "synth").rglob("*.py"))
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in files
        for call in calls(ast.parse(path.read_text(encoding="utf-8")))
        if without_encoding(call)
    ]
    assert not found
    assert without_encoding(calls(ast.parse("path.open('a')"))[0])
    assert not without_encoding(calls(ast.parse("path.open('rb')"))[0])


def test_nothing_imports_what_windows_lacks():
    lacking = {"fcntl", "pwd", "grp", "resource", "termios"}
    for path in (ROOT / "synth").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not lacking & set(names), path
