"""What the runs left: a point for each adapter, and a curve over them for each contestant."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Interval, over_seeds
from benchmarks.peers.clock import MOMENTS
from benchmarks.peers.runs import REPORT

FIGURES = ("internalization", "kl_to_teacher", "valid", "agreement", "chrf")


@dataclass(frozen=True)
class Point:
    """One adapter.

    Attributes:
        seconds, cpu_seconds: that led to it, of the clock and of the processor.
        start_seconds: before them: imports, the model, the data's tokens.
        figures: each as an interval; a task without an action pattern has fewer.
    """

    name: str
    seed: int | None
    step: int
    epoch: float
    seconds: float
    cpu_seconds: float
    start_seconds: float
    figures: dict[str, Interval]


def points(folder: Path, name: str, seed: int) -> list[Point]:
    """A run's adapters in the order of their steps; none where it is not measured yet."""
    report = folder / REPORT / "metrics.json"
    if not report.is_file():
        return []
    systems = json.loads(report.read_text(encoding="utf-8"))["systems"]
    lines = [json.loads(line) for line in (folder / MOMENTS).read_text("utf-8").splitlines()]
    found = []
    for line in lines:
        adapter = line.pop("adapter")
        figures = systems["student" if len(lines) == 1 else adapter]
        its = {figure: figures[figure] for figure in FIGURES if figure in figures}
        found.append(Point(name, seed, **line, figures=its))
    return sorted(found, key=lambda point: point.step)


def curve(found: Sequence[Point]) -> list[Point]:
    """A contestant's points, those of all seeds at a step as one: means, and intervals over seeds.

    A step that not all seeds have, as where each was stopped after so many seconds, is left out.
    """
    seeds = {point.seed for point in found}
    by_step: dict[int, list[Point]] = {}
    for point in found:
        by_step.setdefault(point.step, []).append(point)
    return [_together(same) for _, same in sorted(by_step.items()) if len(same) == len(seeds)]


def _together(same: Sequence[Point]) -> Point:
    first = same[0]
    mean = {name: statistics.mean(getattr(one, name) for one in same)
            for name in ("epoch", "seconds", "cpu_seconds", "start_seconds")}  # fmt: skip
    figures = {name: over_seeds([one.figures[name] for one in same]) for name in first.figures}
    return Point(first.name, first.seed if len(same) == 1 else None, first.step, **mean,
                 figures=figures)  # fmt: skip


def reached(line: Sequence[Point], seconds: float, by: str = "seconds") -> float | None:
    """The internalization of the adapter that there is after so many seconds; None before one."""
    known = [point for point in line if getattr(point, by) <= seconds]
    return known[-1].figures["internalization"]["value"] if known else None


def ahead(
    ours: Sequence[Point], other: Sequence[Point], by: str = "seconds"
) -> Iterator[tuple[float, float | None]]:
    """When another has the better adapter: from and to these seconds, None for the end.

    Where neither has one, nobody is ahead.
    """
    events = sorted({getattr(point, by) for point in (*ours, *other)})
    since = None
    for moment in events:
        mine, its = reached(ours, moment, by), reached(other, moment, by)
        leads = its is not None and (mine is None or its > mine)
        if leads and since is None:
            since = moment
        elif not leads and since is not None:
            yield since, moment
            since = None
    if since is not None:
        yield since, None


def as_json(found: Sequence[Point]) -> list[dict[str, Any]]:
    """The points as `points.json` holds them."""
    return [vars(point) for point in found]
