"""What the runs left: a point for each adapter, and a curve over them for each contestant."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.figures import Interval, over_seeds
from benchmarks.peers.clock import MOMENTS
from benchmarks.peers.runs import REPORT

Standing = Literal["ahead", "behind", "not told apart"]
FIGURES = ("internalization", "kl_to_teacher", "valid", "agreement", "chrf")


@dataclass(frozen=True)
class Point:
    """One adapter.

    Attributes:
        step: a mean where seeds end at unlike ones.
        seconds, cpu_seconds: that led to it, of the clock and of the processor.
        start_seconds: before them: imports, the model, the data's tokens.
        figures: each as an interval; a task without an action pattern has fewer.
        before_seconds: those of `seconds` that were over at the end of the first micro-batch.
    """

    name: str
    seed: int | None
    step: float
    epoch: float
    seconds: float
    cpu_seconds: float
    start_seconds: float
    figures: dict[str, Interval]
    before_seconds: float = 0.0


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

    A step that not all seeds have, as where each was stopped after so many seconds, is left out,
    but for the ends: where seeds end at unlike steps, the last point is of each one's last adapter.
    """
    by_seed: dict[int | None, dict[float, Point]] = {}
    for point in found:
        by_seed.setdefault(point.seed, {})[point.step] = point
    each = list(by_seed.values())
    shared = set.intersection(*map(set, each)) if each else set()
    line = [_together([one[step] for one in each]) for step in sorted(shared)]
    if len({max(one) for one in each}) > 1:
        line.append(_together([one[max(one)] for one in each]))
    return line


def _together(same: Sequence[Point]) -> Point:
    first = same[0]
    mean = {name: statistics.mean(getattr(one, name) for one in same)
            for name in ("epoch", "seconds", "cpu_seconds", "start_seconds",
                         "before_seconds")}  # fmt: skip
    figures = {name: over_seeds([one.figures[name] for one in same]) for name in first.figures}
    steps = {one.step for one in same}
    step = first.step if len(steps) == 1 else statistics.mean(one.step for one in same)
    return Point(first.name, first.seed if len(same) == 1 else None, step, **mean,
                 figures=figures)  # fmt: skip


def reached(line: Sequence[Point], seconds: float, by: str = "seconds") -> Interval | None:
    """The internalization of the adapter that there is after so many seconds; None before one."""
    known = [point for point in line if getattr(point, by) <= seconds]
    return known[-1].figures["internalization"] if known else None


def standings(
    ours: Sequence[Point], other: Sequence[Point], by: str = "seconds"
) -> list[tuple[Standing, float, float | None]]:
    """Who has the better adapter, from and to these seconds, None for the end.

    It begins where one of them has an adapter: that one is ahead until the other has one, too. From
    there on one is ahead where its interval is all above the other's (an equal value is not above).
    """
    found: list[tuple[Standing, float, float | None]] = []
    for moment in sorted({getattr(point, by) for point in (*ours, *other)}):
        standing = _standing(reached(ours, moment, by), reached(other, moment, by))
        if found and found[-1][0] == standing:
            continue
        if found:
            found[-1] = (*found[-1][:2], moment)
        found.append((standing, moment, None))
    return found


def _standing(mine: Interval | None, its: Interval | None) -> Standing:
    if mine is None or its is None:
        return "ahead" if its is None else "behind"
    (low, high), (its_low, its_high) = _ends(mine), _ends(its)
    return "ahead" if low > its_high else "behind" if its_low > high else "not told apart"


def _ends(interval: Interval) -> tuple[float, float]:
    """An interval's ends: its value where it has none, and all there is without a value."""
    value = interval["value"]
    if value is None:
        return -math.inf, math.inf
    low, high = interval.get("ci_low"), interval.get("ci_high")
    return value if low is None else low, value if high is None else high


def as_json(found: Sequence[Point]) -> list[dict[str, Any]]:
    """The points as `points.json` holds them."""
    return [vars(point) for point in found]
