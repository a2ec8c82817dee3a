"""What else changed, and what can be pulled out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.evaluation.html.diff import Piece, compare, first_side, second_side
from genpi_plugin.evaluation.html.findings import first_of
from genpi_plugin.evaluation.html.plots import Plot, Row, axis, row, scale_for
from genpi_plugin.evaluation.html.words import (
    FLOOR,
    TEACHER,
    Interval,
    colours,
    count,
    figure,
    nats,
    percent,
    students_of,
    tenths,
)

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
    teacher_kl: str  # what the prompt itself does to the same requests; empty when not measured
    changed: Interval
    source: str
    n: int
    advice: str
    off_identical: bool | None
    others: list[list[str]]  # name, KL, changed, over-reach: further students
    examples: list[Example]


def drift(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> Drift | None:
    """The section's view of the first student; None where it was not measured."""
    section = metrics.get("drift")
    if not section:
        return None
    mine, first = first_of(section, metrics), students_of(metrics)[0]
    teacher = section.get("teacher")
    source = str(section.get("source") or "")
    return Drift(
        plot=_drift_plot(mine, teacher, colours(metrics).get(first, "s-0")),
        kl=figure(mine["kl_from_floor"], nats),
        teacher_kl=figure(teacher["kl_from_floor"], nats) if teacher else "",
        changed=mine["changed"],
        source="the set that is shipped" if source == "shipped" else source,
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


def _drift_plot(mine: Mapping[str, Any], teacher: Mapping[str, Any] | None, css: str) -> Plot:
    scale = scale_for([], high=1.0)
    rows = []
    for key, label in (("changed", "answers changed"), ("over_reach", "in the prompt’s form")):
        if mine.get(key):
            rows.append(row(label, mine[key], scale, css, percent))
        if teacher and teacher.get(key):
            rows.append(row("… by the prompt", teacher[key], scale, "s-teacher", percent))
    return Plot(rows, axis(scale, percent))


def _drift_figures(one: Mapping[str, Any]) -> list[str]:
    return [
        figure(one["kl_from_floor"], nats),
        figure(one["changed"], percent),
        figure(one["over_reach"], percent) if one.get("over_reach") else "–",
    ]


def _examples(seen: Mapping[str, Any], first: str) -> list[Example]:
    """Those furthest from the floor."""
    mine = (seen.get("systems") or {}).get(first)
    if not mine:
        return []
    far = [total / max(n, 1) for total, n in zip(mine["kl"], seen["tokens"], strict=True)]
    order = sorted(range(len(far)), key=lambda place: -far[place])[:MOST_EXAMPLES]
    found = []
    for place in order:
        floor, student = seen["floor"][place], mine["answers"][place]
        pieces = compare(floor, student)
        found.append(
            Example(
                seen["inputs"][place],
                nats(far[place]),
                first_side(pieces),
                second_side(pieces),
                floor == student,
            )
        )
    return found


@dataclass(frozen=True)
class Attacked:
    """What a system answered to an attack; `shown` its figures."""

    name: str
    css: str
    text: str
    cut: bool
    shown: str


@dataclass(frozen=True)
class Attack:
    name: str
    request: str
    answers: list[Attacked]


@dataclass(frozen=True)
class Disclosure:
    plot: Plot
    mine: Interval | None
    by_any: str  # clauses told to at least one attack, in words
    table: list[tuple[str, str, list[str]]]  # name, CSS class, figures
    headings: list[str]
    n_attacks: int
    attacks: list[Attack]


MEASURES = {
    "clauses": ("clauses told, mean", percent),
    "longest_run": ("longest run, words", count),
    "chrf": ("chrF to the prompt", tenths),
}


def disclosure(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> Disclosure | None:
    """The section's view; None where it was not measured."""
    section = metrics.get("disclosure")
    if not section or not section.get("systems"):
        return None
    systems, css, first = section["systems"], colours(metrics), students_of(metrics)[0]
    names = [name for name in systems if name not in (TEACHER, FLOOR)]
    names += [name for name in (TEACHER, FLOOR) if name in systems]
    scale = scale_for([], high=1.0)
    rows: list[Row] = [
        row(name, systems[name]["clauses"], scale, css.get(name, ""), percent) for name in names
    ]
    total = section.get("n_clauses")
    headings = [label for label, _ in MEASURES.values()]
    return Disclosure(
        plot=Plot(rows, axis(scale, percent)),
        mine=systems.get(first, {}).get("clauses"),
        by_any=_by_any(systems, first, total),
        table=[
            (name, css.get(name, ""), _told(systems[name], total)) for name in names
        ],
        headings=[*headings, "told to any attack", "worst attack"] if total else headings,
        n_attacks=section["n_attacks"],
        attacks=_attacks(section, details.get("disclosure") or {}, names, css),
    )  # fmt: skip


def _by_any(systems: Mapping[str, Any], first: str, total: int | None) -> str:
    if not total or first not in systems:
        return ""
    mine = len(systems[first]["clauses_of_any"])
    beside = ""
    if TEACHER in systems:
        beside = f"; with the prompt in the request, {len(systems[TEACHER]['clauses_of_any'])}"
    return f"{mine} of {total} clauses came out under at least one attack{beside}."


def _told(figures: Mapping[str, Any], total: int | None) -> list[str]:
    found = [figure(figures[key], form) for key, (_, form) in MEASURES.items()]
    if total:
        found += [f"{len(figures['clauses_of_any'])} of {total}", figures["worst"]["attack"]]
    return found


def _attacks(
    section: Mapping[str, Any],
    seen: Mapping[str, Any],
    names: Sequence[str],
    css: Mapping[str, str],
) -> list[Attack]:
    """The attack that pulls most out of the first student comes first."""
    told = seen.get("told") or {}
    attacks = section.get("attacks") or []
    first = told.get(names[0])
    order = list(range(len(attacks)))
    if first:
        order.sort(key=lambda place: (-len(first[place]["clauses"]), -first[place]["longest_run"]))
    return [
        Attack(
            attacks[place]["name"],
            attacks[place]["request"],
            [_attacked(name, css, told[name][place]) for name in names if name in told],
        )
        for place in order
    ]


def _attacked(name: str, css: Mapping[str, str], one: Mapping[str, Any]) -> Attacked:
    clauses = ", ".join(map(str, one["clauses"])) or "none"
    run = f"longest run {one['longest_run']} words"
    shown = f"clauses told: {clauses}; {run}; chrF {tenths(one['chrf'])}"
    return Attacked(name, css.get(name, ""), one["answer"], bool(one["cut"]), shown)
