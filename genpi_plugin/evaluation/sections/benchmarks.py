"""What was forgotten, on public tests: floor and students on tasks of lm-evaluation-harness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """By system, task and figure, the floor first; and of groups, their tasks and groups."""

    harness: str
    limit: int | None
    results: dict[str, dict[str, dict[str, Result]]]
    groups: dict[str, list[str]] = field(default_factory=dict)


def measure_benchmarks(
    context: Context, names: Sequence[str], limit: int | None = None
) -> Benchmarks | None:
    """Run the benchmarks on the floor and each student; None without any.

    Args:
        names: of tasks and groups of the harness, or YAML files of tasks.
        limit: items of each task; None takes all.

    Raises:
        GenPIError: see `check_benchmarks`.
        NotMeasured: see `run_benchmarks`.
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
    by_task = {name: its.results for name, its in results.items()}
    return Benchmarks(str(harness_version()), limit, by_task, results[FLOOR].groups)


def summarize_benchmarks(measured: Benchmarks, seed: int) -> dict[str, Any]:
    """Each system's figures with the harness's standard error, and students minus floor.

    A difference is paired, item by item, where the harness tells the items' values; otherwise its
    standard error is that of two independent samples, which is too wide rather than too narrow.
    """
    floor = measured.results[FLOOR]
    return {
        "harness": measured.harness,
        "limit": measured.limit,
        "groups": measured.groups,
        "notes": _notes(measured),
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


def _notes(measured: Benchmarks) -> list[str]:
    """Of each task, not of groups, the requests that were cut."""
    notes = []
    for task in measured.results[FLOOR]:
        if task in measured.groups:
            continue
        cut = {
            name: max(one.cut for one in its[task].values())
            for name, its in measured.results.items()
        }
        if any(cut.values()):
            each = ", ".join(f"{n} of {name}" for name, n in cut.items())
            notes.append(
                f"Of the benchmark {task}, {max(cut.values())} requests were cut ({each}): they "
                "are longer than the model takes, and lost their beginning. They are scored so."
            )
    return notes


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
    around = _around(result.value, result.stderr)
    return {**around.as_dict(), "stderr": result.stderr, "cut_requests": result.cut}


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
            cut = max(one[name].get("cut_requests", 0) for name in (FLOOR, *students))
            items = f"{one['n']}, {cut} requests were cut" if cut else str(one["n"])
            rows.append([task, metric + sense, items, *cells])
    return rows


def _shown(figure: dict[str, Any]) -> str:
    stderr = figure["stderr"]
    return f"{figure['value']:.3f}" + ("" if stderr is None else f" ± {stderr:.3f}")


def _shown_difference(figure: dict[str, Any]) -> str:
    if figure["ci_low"] is None:
        return f"{figure['value']:+.3f}"
    shown = f"{figure['value']:+.3f} [{figure['ci_low']:+.3f}, {figure['ci_high']:+.3f}]"
    return shown + (", significant" if figure["significant"] else "")
