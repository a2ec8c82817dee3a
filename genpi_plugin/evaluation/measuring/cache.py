"""What was measured before, by what it depends on: a second report measures nothing anew."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genpi_plugin.data import digests
from genpi_plugin.version import __version__

FOLDER = "genpi-eval-cache"
PACKAGE = Path(__file__).parents[1]  # genpi_plugin/evaluation
# What shows or checks figures, and makes none.
SHOWING = {"cli.py", "report.py", "gate.py", "run.py", "plan.py", "settings.py",
           "bars.py", "__main__.py", "html"}  # fmt: skip
MAKING = {".py", ".yml", ".txt", ".md", ".jsonl"}
# What decides a system's answers and divergences.
CORE = (
    "data/chat.py",
    "data/rows.py",
    "reading/prefix.py",
    "reading/shared_attention.py",
    "reading/shared_prefix.py",
    "reading/head.py",
    "evaluation/subjects/subject.py",
    "evaluation/subjects/reading.py",
    "evaluation/measuring/measure.py",
)


class Cache:
    """Parts of evaluations as JSON files, each named by a digest of its facts.

    A file appears whole or not at all, so an evaluation that was stopped goes on from the parts
    it finished. Facts are everything that a part depends on, the code that makes it included.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = 0
        self.made = 0

    def part(self, name: str, facts: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """A part that was made before, or `make()`, kept; JSON types either way."""
        path = self._path(name, facts)
        kept = _read(path)
        if kept is not None:
            self.found += 1
            return kept["part"]
        made = make()
        self.made += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps({"part": made}, ensure_ascii=False), encoding="utf-8")
        unfinished.replace(path)
        return json.loads(json.dumps(made))

    def has(self, name: str, facts: Mapping[str, Any]) -> bool:
        """Whether a part was made before."""
        return _read(self._path(name, facts)) is not None

    def _path(self, name: str, facts: Mapping[str, Any]) -> Path:
        return self.folder / f"{name}-{digests.of([name, __version__, facts])}.json"


def core_digest() -> str:
    """Of the code that makes answers and divergences."""
    return digests.of_files(PACKAGE.parent / name for name in CORE)


def code_digest() -> str:
    """Of everything that makes a section: its code, and the data that it comes with."""
    files = [
        path
        for path in PACKAGE.rglob("*")
        if path.suffix in MAKING and not SHOWING & set(path.relative_to(PACKAGE).parts)
    ]
    return digests.of([core_digest(), digests.of_files(files)])


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None  # never made, or damaged: made anew
