"""What else changed: requests that the prompt is not about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genpi_plugin.evaluation.html.diff import Piece, compare, first_side, second_side
from genpi_plugin.evaluation.html.findings import first_of
from genpi_plugin.evaluation.html.formatting import (
    TEACHER,
    Interval,
    colours,
    figure,
    nats,
    percent,
    students_of,
)
from genpi_plugin.evaluation.html.plots import Plot, axis, row, scale_for

MOST_EXAMPLES = 8


@dataclass(frozen=True)
class Example:
    """An input that the prompt is not about, answered with and without the adapter."""

    input: str
    kl: str
    floor: list[Piece]
    student: list[Piece]
    same: bool


@dataclass(frozen=True)
class Drift:
    plot: Plot
    kl: str
    teacher_kl: str  # the prompt's own effect on the same requests; empty when not measured
    from_teacher: str  # distance from the base model with the prompt
    floor_from_teacher: str
    to_teacher: bool  # trained to stay with the teacher, and judged by it
    changed: Interval
    source: str
    n: int
    advice: str
    off_identical: bool | None
    others: list[list[str]]  # name, both KL, judged by, changed, over-reach: further students
    examples: list[Example]


def drift(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> Drift | None:
    """The section's view of the first student; None where it was not measured."""
    section = metrics.get("drift")
    if not section:
        return None
    mine, first = first_of(section, metrics), students_of(metrics)[0]
    teacher, to_teacher = section.get("teacher"), mine.get("kept_to") == TEACHER
    source = str(section.get("source") or "")
    return Drift(
        plot=_drift_plot(mine, teacher, section["floor"], colours(metrics).get(first, "s-0")),
        kl=figure(mine["kl_from_floor"], nats),
        teacher_kl=figure(teacher["kl_from_floor"], nats) if teacher else "",
        from_teacher=figure(mine["kl_from_teacher"], nats),
        floor_from_teacher=figure(section["floor"]["kl_from_teacher"], nats),
        to_teacher=to_teacher,
        changed=mine["changed_from_teacher" if to_teacher else "changed"],
        source="the shipped set" if source == "shipped" else source,
        n=section.get("n") or 0,
        advice=mine.get("advice") or "",
        off_identical=section.get("off_identical"),
        others=[
            [name, *_drift_figures(one)]
            for name, one in (section.get("students") or {}).items()
            if name != first
        ],
        examples=_examples(details.get("drift") or {}, first),
    )


def _drift_plot(
    mine: Mapping[str, Any],
    teacher: Mapping[str, Any] | None,
    floor: Mapping[str, Any],
    css: str,
) -> Plot:
    scale = scale_for([], high=1.0)
    rows = []
    for key, label in (
        ("changed", "not the floor’s answer"),
        ("over_reach", "in the prompt’s format"),
    ):
        if mine.get(key):
            rows.append(row(label, mine[key], scale, css, percent))
        if teacher and teacher.get(key):
            rows.append(row("… with the prompt", teacher[key], scale, "s-teacher", percent))
    for key, label in (
        ("changed_from_teacher", "not the teacher’s answer"),
        ("over_reach_from_teacher", "format, teacher’s not"),
    ):
        if mine.get(key):
            rows.append(row(label, mine[key], scale, css, percent))
        if floor and floor.get(key):
            rows.append(row("… without adapter", floor[key], scale, "s-floor", percent))
    return Plot(rows, axis(scale, percent))


def _drift_figures(one: Mapping[str, Any]) -> list[str]:
    """The last two against what the adapter was trained to stay with, and is judged by."""
    to_teacher = one.get("kept_to") == TEACHER
    changed = one["changed_from_teacher" if to_teacher else "changed"]
    reach = one.get("over_reach_from_teacher" if to_teacher else "over_reach")
    return [
        figure(one["kl_from_floor"], nats),
        figure(one["kl_from_teacher"], nats),
        "teacher" if to_teacher else "floor",
        figure(changed, percent),
        figure(reach, percent) if reach else "–",
    ]


def _examples(section: Mapping[str, Any], first: str) -> list[Example]:
    """The answers furthest from the floor's."""
    mine = (section.get("systems") or {}).get(first)
    if not mine:
        return []
    far = [total / max(n, 1) for total, n in zip(mine["kl"], section["tokens"], strict=True)]
    order = sorted(range(len(far)), key=lambda place: -far[place])[:MOST_EXAMPLES]
    found = []
    for place in order:
        floor, student = section["floor"][place], mine["answers"][place]
        pieces = compare(floor, student)
        found.append(
            Example(
                section["inputs"][place],
                nats(far[place]),
                first_side(pieces),
                second_side(pieces),
                floor == student,
            )
        )
    return found
