"""The student's answers on disk, one file a row, by the step at which they were given.

    <output_dir>/_on_policy/step-000120/window.json                      which student answered
                                       /<the student>/<key of row>.json  its answers

A run that is killed and resumed goes on with the answers that it had, also where the weights that
gave them are gone. Files appear whole or not at all. The hub is not sent folders that begin with _.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = "_on_policy"
WINDOW_FILE = "window.json"


@dataclass(frozen=True)
class Rollout:
    """One answer of the student: token ids, the one that ends it included, and whether it was cut
    by `max_new_tokens` before that."""

    ids: list[int]
    cut: bool


class RolloutStore:
    """The answers of a run, by window and row."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, step: int, how: str, weights: str, first: bool) -> None:
        """Before answers are read or written; those of another student are removed. One process on
        each node is to call.

        Args:
            step: the window's first.
            how: a digest of how the student answers and of its base model.
            weights: a digest of its weights as they are now.
            first: it is the window's first step. Later ones have other weights than gave the
                answers, so that only `how` is compared.
        """
        path = self._window(step) / WINDOW_FILE
        known = _read(path) if path.is_file() else {}
        if known.get("how") == how and (not first or known.get("weights") == weights):
            return
        self._write(path, {"step": step, "how": how, "weights": weights})
        # Another node may be as far on the same disk: what it may use stays.
        for other in path.parent.iterdir():
            if other.is_dir() and other != self._answers(step):
                shutil.rmtree(other, ignore_errors=True)

    def get(self, step: int, key: str) -> list[Rollout] | None:
        """The answers to a row's requests, in order; None where there are none yet."""
        path = self._answers(step) / f"{key}.json"
        return [Rollout(**one) for one in _read(path)] if path.is_file() else None

    def put(self, step: int, key: str, answers: list[Rollout]) -> None:
        self._write(self._answers(step) / f"{key}.json", [asdict(one) for one in answers])

    def _window(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _answers(self, step: int) -> Path:
        known = _read(self._window(step) / WINDOW_FILE)
        student = hashlib.sha256((known["how"] + known["weights"]).encode()).hexdigest()[:16]
        return self._window(step) / student

    def _write(self, path: Path, content: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(content), encoding="utf-8")
        unfinished.replace(path)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
