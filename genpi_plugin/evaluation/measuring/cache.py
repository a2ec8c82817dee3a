"""Earlier measurements, keyed by what they depend on: a second report measures nothing again."""

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
# Code that shows or checks figures and computes none.
PRESENTATION = {"cli.py", "report.py", "headlines.py", "gate.py", "run.py", "plan.py",
           "settings.py", "bars.py", "__main__.py", "html"}  # fmt: skip
SUFFIXES = {".py", ".yml", ".txt", ".md", ".jsonl"}
# Code that decides a system's answers and divergences.
CORE = (
    "data/answers.py",
    "data/chat.py",
    "data/checks.py",
    "data/forms.py",
    "data/frame.py",
    "data/markers.py",
    "data/messages.py",
    "data/pieces.py",
    "data/probes.py",
    "data/rendering.py",
    "data/requests.py",
    "data/roles.py",
    "data/rows.py",
    "data/slots.py",
    "data/templates.py",
    "data/thoughts.py",
    "data/tokenizers.py",
    "data/tools.py",
    "data/transcripts.py",
    "data/view.py",
    "data/written.py",
    "reading/agreement.py",
    "reading/capabilities.py",
    "reading/context.py",
    "reading/generation.py",
    "reading/head.py",
    "reading/layout.py",
    "reading/prefix.py",
    "reading/shared_attention.py",
    "reading/shared_prefix.py",
    "reading/start.py",
    "reading/supervised.py",
    "reading/trials.py",
    "reading/writing.py",
    "evaluation/figures/measured.py",
    "evaluation/measuring/measure.py",
    "evaluation/subjects/reading.py",
    "evaluation/subjects/subject.py",
)


class Cache:
    """Parts of evaluations as JSON files, each named by a digest of its facts.

    A file appears whole or not at all, so an evaluation that was stopped resumes with the parts
    it finished. Facts are everything that a part depends on, including the code that computes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reused = 0
        self.computed = 0

    def part(self, name: str, facts: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """The stored part, or `compute()`, which is then stored; JSON types either way."""
        path = self._path(name, facts)
        stored = _read(path)
        if stored is not None:
            self.reused += 1
            return stored["part"]
        computed = compute()
        self.computed += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps({"part": computed}, ensure_ascii=False), encoding="utf-8")
        unfinished.replace(path)
        return json.loads(json.dumps(computed))

    def has(self, name: str, facts: Mapping[str, Any]) -> bool:
        """Whether a part is stored."""
        return _read(self._path(name, facts)) is not None

    def _path(self, name: str, facts: Mapping[str, Any]) -> Path:
        return self.folder / f"{name}-{digests.of([name, __version__, facts])}.json"


def core_digest() -> str:
    """Digest of the code that computes answers and divergences."""
    return digests.of_files(PACKAGE.parent / name for name in CORE)


def code_digest() -> str:
    """Digest of everything that computes a section: its code, and the data shipped with it."""
    files = [
        path
        for path in PACKAGE.rglob("*")
        if path.suffix in SUFFIXES and not PRESENTATION & set(path.relative_to(PACKAGE).parts)
    ]
    return digests.of([core_digest(), digests.of_files(files)])


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None  # not stored, or damaged: computed again
