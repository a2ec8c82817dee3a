"""What was forgotten, on public tests: floor and students on tasks of lm-evaluation-harness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.intervals import Interval
from genpi_plugin.evaluation.figures.names import FLOOR
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.sections.harness import (
    Result,
    check_benchmarks,
    harness_version,
    run_benchmarks,
)

__all__ = ["Benchmarks", "check_benchmarks", "measure_benchmarks", "summarize_benchmarks"]

# Standard errors on each side of a 95 % interval.
SIDE = 1.96


@dataclass(frozen=True)
class Benchmarks:
    """By system, task and figure, the floor first."""

    harness: str
    limit: int | None
    results: dict[str, dict[str, dict[str, Result]]]


def measure_benchmarks(
    context: Context, names: Sequence[str], limit: int | None = None
) -> Benchmarks | None:
    """Run the benchmarks on the floor and each student; None without any.

    Args:
        names: of tasks and groups of the harness, or YAML files of tasks.
        limit: items of each task; None takes all.

    Raises:
        GenPIError: see `check_benchmarks`.
    """
    if not names:
        return None
    check_benchmarks(names)
    kwargs = context.floor.view.rendering.kwargs
    results = {}
    for system in (context.floor, *context.students):
        with context.progress(f"benchmarks: {system.name}", 1) as advance:
            results[system.name] = run_benchmarks(system, names, limit, kwargs, context.seed)
            advance(1)
    return Benchmarks(str(harness_version()), limit, results)


def summarize_benchmarks(measured: Benchmarks, seed: int) -> dict[str, Any]:
    """Each system's figures with the harness's standard error, and students minus floor.

    A difference is paired, item by item, where the harness tells the items' values; otherwise its
    standard error is that of two independent samples, which is too wide rather than too narrow.
    """
    floor = measured.results[FLOOR]
    return {
        "harness": measured.harness,
        "limit": measured.limit,
        "tasks": {
            task: {
                metric: _figure(
                    {name: its[task][metric] for name, its in measured.results.items()}, seed
                )
                for metric in figures
            }
            for task, figures in floor.items()
        },
    }


def _figure(by_system: dict[str, Result], seed: int) -> dict[str, Any]:
    floor = by_system[FLOOR]
    return {
        "n": floor.n,
        "higher_is_better": floor.higher_is_better,
        **{name: _with_stderr(result) for name, result in by_system.items()},
        "differences": {
            name: _difference(result, floor, seed)
            for name, result in by_system.items()
            if name != FLOOR
        },
    }


def _with_stderr(result: Result) -> dict[str, Any]:
    return {**_around(result.value, result.stderr).as_dict(), "stderr": result.stderr}


def _difference(student: Result, floor: Result, seed: int) -> dict[str, Any]:
    paired = (
        student.by_item is not None
        and floor.by_item is not None
        and len(student.by_item) == len(floor.by_item)
    )
    if student.by_item is not None and floor.by_item is not None and paired:
        found = intervals.mean_difference(student.by_item, floor.by_item, seed)
    else:
        known = student.stderr is not None and floor.stderr is not None
        both = math.hypot(student.stderr or 0.0, floor.stderr or 0.0) if known else None
        found = _around(student.value - floor.value, both)
    return {**found.as_dict(), "paired": paired, "significant": found.excludes_zero}


def _around(value: float, stderr: float | None) -> Interval:
    if stderr is None:
        return Interval(value, None, None)
    return Interval(value, value - SIDE * stderr, value + SIDE * stderr)


def table_rows(benchmarks: Mapping[str, Any]) -> list[list[str]]:
    """A heading, then a line a figure: benchmark, figure, items, floor, students, differences."""
    every = [one for figures in benchmarks["tasks"].values() for one in figures.values()]
    students = list(every[0]["differences"]) if every else []
    rows = [["benchmark", "figure", "items", FLOOR,
             *(cell for name in students for cell in (name, f"{name} - {FLOOR}"))]]  # fmt: skip
    for task, figures in benchmarks["tasks"].items():
        for metric, one in figures.items():
            cells = [_shown(one[FLOOR])]
            for name in students:
                cells += [_shown(one[name]), _shown_difference(one["differences"][name])]
            sense = "" if one["higher_is_better"] else " (lower is better)"
            rows.append([task, metric + sense, str(one["n"]), *cells])
    return rows


def _shown(figure: dict[str, Any]) -> str:
    stderr = figure["stderr"]
    return f"{figure['value']:.3f}" + ("" if stderr is None else f" ± {stderr:.3f}")


def _shown_difference(figure: dict[str, Any]) -> str:
    if figure["ci_low"] is None:
        return f"{figure['value']:+.3f}"
    shown = f"{figure['value']:+.3f} [{figure['ci_low']:+.3f}, {figure['ci_high']:+.3f}]"
    return shown + (", significant" if figure["significant"] else "")
