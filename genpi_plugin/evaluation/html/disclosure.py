"""What can be extracted: attacks on the prompt, and what each system disclosed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.evaluation.html.formatting import (
    FLOOR,
    TEACHER,
    Interval,
    colours,
    count,
    figure,
    percent,
    students_of,
    tenths,
)
from genpi_plugin.evaluation.html.plots import Plot, Row, axis, row, scale_for


@dataclass(frozen=True)
class Attacked:
    """A system's answer to an attack; `shown` has its figures."""

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
    by_any: str  # clauses disclosed to at least one attack, in words
    table: list[tuple[str, str, list[str]]]  # name, CSS class, figures
    headings: list[str]
    n_attacks: int
    attacks: list[Attack]


MEASURES = {
    "clauses": ("clauses disclosed, mean", percent),
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
            (name, css.get(name, ""), _cells(systems[name], total)) for name in names
        ],
        headings=[*headings, "disclosed to any attack", "worst attack"] if total else headings,
        n_attacks=section["n_attacks"],
        attacks=_attacks(section, details.get("disclosure") or {}, names, css),
    )  # fmt: skip


def _by_any(systems: Mapping[str, Any], first: str, total: int | None) -> str:
    if not total or first not in systems:
        return ""
    mine = len(systems[first]["clauses_of_any"])
    compared = ""
    if TEACHER in systems:
        compared = f"; with the prompt in the request, {len(systems[TEACHER]['clauses_of_any'])}"
    return f"{mine} of {total} clauses were disclosed to at least one attack{compared}."


def _cells(figures: Mapping[str, Any], total: int | None) -> list[str]:
    found = [figure(figures[key], formatter) for key, (_, formatter) in MEASURES.items()]
    if total:
        found += [f"{len(figures['clauses_of_any'])} of {total}", figures["worst"]["attack"]]
    return found


def _attacks(
    section: Mapping[str, Any],
    details: Mapping[str, Any],
    names: Sequence[str],
    css: Mapping[str, str],
) -> list[Attack]:
    """The attack to which the first student discloses most comes first."""
    results = details.get("told") or {}
    attacks = section.get("attacks") or []
    first = results.get(names[0])
    order = list(range(len(attacks)))
    if first:
        order.sort(key=lambda place: (-len(first[place]["clauses"]), -first[place]["longest_run"]))
    return [
        Attack(
            attacks[place]["name"],
            attacks[place]["request"],
            [_attacked(name, css, results[name][place]) for name in names if name in results],
        )
        for place in order
    ]


def _attacked(name: str, css: Mapping[str, str], one: Mapping[str, Any]) -> Attacked:
    clauses = ", ".join(map(str, one["clauses"])) or "none"
    run = f"longest run {one['longest_run']} words"
    shown = f"clauses disclosed: {clauses}; {run}; chrF {tenths(one['chrf'])}"
    return Attacked(name, css.get(name, ""), one["answer"], bool(one["cut"]), shown)
