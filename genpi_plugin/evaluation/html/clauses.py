"""Which rules were internalized: the clauses of the prompt by effect. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genpi_plugin.evaluation.html.diff import Piece, compare, second_side
from genpi_plugin.evaluation.html.findings import is_missing
from genpi_plugin.evaluation.html.formatting import (
    Interval,
    colours,
    figure,
    nats,
    percent,
    students_of,
)
from genpi_plugin.evaluation.html.plots import Row, Scale, ends, row, scale_for

KINDS = {
    "item": "list item",
    "paragraph": "paragraph",
    "turns": "worked turn",
    "marked": "user-defined",
    "tool": "tool",
    "heading": "heading",
}


# Effect of a clause on a token, in nats, from which it is shaded 1, 2, 3, 4.
SHADES = (0.05, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class ShadedText:
    """A piece of the teacher's answer; `shade`, 0 to 4, is the clause's effect on it."""

    text: str
    shade: int


@dataclass(frozen=True)
class WorstInput:
    """An input on which a clause is missed. The teacher's answer is shaded where the clause has an
    effect; in the others the differences from the teacher's are marked."""

    input: str
    teacher: list[ShadedText]
    without: list[Piece]
    student: list[Piece]
    kl: str


@dataclass(frozen=True)
class Clause:
    number: int
    kind: str
    text: str
    tokens: int
    share: str
    effect: Row
    internalized: Row | None
    others: list[tuple[str, str, str]]  # name, CSS class, figure: further students
    missing: bool
    worst: list[WorstInput]


@dataclass(frozen=True)
class Clauses:
    alive: list[Clause]
    dead: list[Clause]
    dead_tokens: int
    n_inputs: int
    n_available: int | None
    dead_below: float | None
    effect_scale: str  # range of the effects' bars
    share_scale: str
    shaded: bool


def clauses(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> Clauses | None:
    """The section's view, the strongest clause first; None where it was not measured."""
    section = metrics.get("clauses")
    if not section or not section["clauses"]:
        return None
    found = sorted(section["clauses"], key=lambda clause: -(clause["effect"]["value"] or 0.0))
    effects = scale_for(ends([clause["effect"] for clause in found]))
    shares = scale_for(
        ends([clause["internalized"] for clause in found if clause.get("internalized")]), high=1.0
    )
    detail = details.get("clauses") or {}
    shown = [
        (clause["dead"], _clause(clause, effects, shares, metrics, detail)) for clause in found
    ]
    dead = [one for is_dead, one in shown if is_dead]
    return Clauses(
        alive=[one for is_dead, one in shown if not is_dead],
        dead=dead,
        dead_tokens=sum(one.tokens for one in dead),
        n_inputs=section["n_inputs"],
        n_available=section.get("n_available"),
        dead_below=section.get("dead_below"),
        effect_scale=f"{effects.low:g} to {effects.high:g}",
        share_scale=f"{percent(shares.low)} to {percent(shares.high)}",
        shaded=any(len(one.teacher) > 1 for _, clause in shown for one in clause.worst),
    )


def _clause(
    clause: Mapping[str, Any],
    effects: Scale,
    shares: Scale,
    metrics: Mapping[str, Any],
    details: Mapping[str, Any],
) -> Clause:
    css, names = colours(metrics), students_of(metrics)
    internalized: Interval | None = clause.get("internalized")
    kind = KINDS.get(clause["kind"], clause["kind"])
    return Clause(
        number=clause["number"],
        kind=f"{clause['name']} ({kind})" if clause.get("name") else kind,
        text=clause["text"],
        tokens=clause["tokens"],
        share=percent(clause["effect_share"]),
        effect=row("effect, nats per token", clause["effect"], effects, "s-teacher", nats),
        internalized=None
        if internalized is None
        else row("internalized", internalized, shares, css.get(names[0], "s-0"), percent, "dot"),
        others=[
            (name, css[name], figure(one, percent))
            for name, one in (clause.get("students") or {}).items()
            if one and name != names[0]
        ],
        missing=is_missing(clause),
        worst=[
            _worst(one, shaded(details, clause["number"], one["input"], one["teacher"]))
            for one in clause.get("worst") or []
        ],
    )


def shaded(details: Mapping[str, Any], number: int, text: str, answer: str) -> list[ShadedText]:
    """The teacher's answer, shaded token by token by KL(T‖T without the clause).

    Args:
        details: `clauses` of details.json. Where it does not hold this answer's tokens, or they do
            not join to its text (a character of several tokens), nothing is shaded.
    """
    by_number = {clause["number"]: clause["effect"] for clause in details.get("clauses") or []}
    if number not in by_number or text not in details.get("inputs", []):
        return [ShadedText(answer, 0)]
    place = details["inputs"].index(text)
    tokens, nats_each = details["answers"][place], by_number[number][place]
    # The last token may be the end of turn, which is not part of the text.
    if len(tokens) != len(nats_each) or answer not in ("".join(tokens), "".join(tokens[:-1])):
        return [ShadedText(answer, 0)]
    found: list[ShadedText] = []
    for token, value in zip(tokens, nats_each, strict=True):
        shade = sum(value >= limit for limit in SHADES)
        if found and found[-1].shade == shade:
            found[-1] = ShadedText(found[-1].text + token, shade)
        else:
            found.append(ShadedText(token, shade))
    return found


def _worst(one: Mapping[str, Any], teacher: list[ShadedText]) -> WorstInput:
    return WorstInput(
        input=one["input"],
        teacher=teacher,
        without=second_side(compare(one["teacher"], one["without"])),
        student=second_side(compare(one["teacher"], one["student"])),
        kl=nats(one["kl_teacher_student"]),
    )
