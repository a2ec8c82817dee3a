"""The rooms: imports go one way (pyproject.toml has the contract), and the map names each room."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests import ROOT

PACKAGES = ("genpi_plugin", "synth")


def sentence(folder):
    """The one sentence that says what lives in a room."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    return (docstring or "").split("\n\n")[0].replace("\n", " ")


def rooms():
    return [
        init.parent
        for package in PACKAGES
        for init in sorted((ROOT / package).rglob("__init__.py"))
        if init.parent.name != package
    ]


def test_no_import_goes_up_and_none_goes_round():
    # In a process of its own: import-linter sets up logging, and disables the loggers there are.
    check = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", rooms(), ids=lambda room: str(room.relative_to(ROOT)))
def test_every_room_says_what_lives_there_and_the_map_says_the_same(room):
    said = sentence(room)
    assert said.endswith("."), f"{room}/__init__.py has no sentence"
    listed = re.sub(r"\s+", " ", (ROOT / "CONTRIBUTING.md").read_text())
    assert f"`{room.relative_to(ROOT)}/` | {said}" in listed


def test_tests_stand_where_the_code_stands():
    astray = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / "tests" / package).rglob("test_*.py")
        if not (ROOT / path.parent.relative_to(ROOT / "tests")).is_dir()
    ]
    assert not astray
