"""The checkpoints of a run, on inputs used neither for training nor for the final figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.measured import Measured
from genpi_plugin.evaluation.figures.names import FLOOR
from genpi_plugin.evaluation.figures.summary import own_share


def summarize_checkpoints(
    measured: Measured, folders: Mapping[int, Path], seed: int
) -> list[dict[str, Any]]:
    """Internalization by step, also along its own answers, and well-formed actions where the task
    has them.

    Args:
        measured: with each checkpoint as a system named `checkpoint_name(step)`.
        folders: the checkpoints by step.
    """
    return [_point(measured, step, folder, seed) for step, folder in folders.items()]


def checkpoint_name(step: int) -> str:
    """A checkpoint's name as a system."""
    return f"step {step}"


def _point(measured: Measured, step: int, folder: Path, seed: int) -> dict[str, Any]:
    name = checkpoint_name(step)
    kl, scores = measured.kl, measured.scores[name]
    point: dict[str, Any] = {
        "step": step,
        "adapter": str(folder),
        "internalization": intervals.internalization(kl[name], kl[FLOOR], seed).as_dict(),
    }
    if measured.own_path:
        point["own_path"] = own_share(measured.own_path[name], seed)
    if "valid" in scores:
        point["valid"] = intervals.mean(scores["valid"], seed).as_dict()
    return point
