"""The measurements of the clauses, and the figures computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.evaluation.sections.clauses.shares import (
    DEAD_BELOW,
    ByToken,
    effect,
    internalized,
    is_dead,
    losses,
)


@dataclass(frozen=True)
class WorstInput:
    """An input on which the student misses the clause, as three systems answer it.

    `lost` is its share of all that is lost of the clause, 0 to 1; `kl_teacher_student` is the
    divergence along its answer, whatever the clause, in nats per token.
    """

    input: str
    teacher: str
    without: str
    student: str
    lost: float
    kl_teacher_student: float


@dataclass(frozen=True)
class MeasuredClause:
    """One clause: what it says, and KL(T||T without it) for every token of every answer.

    `tokens` is how much shorter a request is without it.
    """

    number: int
    kind: str
    name: str
    text: str
    tokens: int
    effect: ByToken
    worst: list[WorstInput]


@dataclass(frozen=True)
class MeasuredClauses:
    """All measurements.

    Attributes:
        inputs: the inputs that were used.
        n_available: inputs of the evaluation.
        answers: the teacher's answers to them, cut into tokens.
        students: KL(T||S) by token, for each student; `floor` likewise.
        frame: pieces of the prompt that are never removed.
    """

    inputs: list[str]
    n_available: int
    answers: list[list[str]]
    clauses: list[MeasuredClause]
    students: dict[str, ByToken]
    floor: ByToken
    frame: list[str]
    seconds: float


def summarize_clauses(measured: MeasuredClauses, seed: int) -> dict[str, Any]:
    """Clauses by effect, the strongest first, with the internalized share of each.

    `internalized` is None with a `why` where a clause has no measurable effect.
    """
    effects = [effect(clause.effect, seed) for clause in measured.clauses]
    dead = [is_dead(interval) for interval in effects]
    # Clauses without an effect have no share, and do not explain what the others lost.
    alive = [clause for clause, is_gone in zip(measured.clauses, dead, strict=True) if not is_gone]
    shares = {
        name: _by_number(alive, student, measured.floor, seed)
        for name, student in measured.students.items()
    }
    first = next(iter(shares))
    total = sum(interval.value or 0.0 for interval in effects) or 1.0
    figures: list[dict[str, Any]] = []
    for clause, interval, is_gone in zip(measured.clauses, effects, dead, strict=True):
        of_students = {name: found.get(clause.number) for name, found in shares.items()}
        figures.append({
            "number": clause.number,
            "kind": clause.kind,
            "name": clause.name,
            "text": clause.text,
            "tokens": clause.tokens,
            "effect": interval.as_dict(),
            "effect_share": (interval.value or 0.0) / total,
            "internalized": of_students[first],
            "students": of_students,
            "dead": is_gone,
            "why": _why(is_gone, of_students[first] is not None),
            "worst": [vars(one) for one in clause.worst],
        })  # fmt: skip
    figures.sort(key=lambda figure: -figure["effect"]["value"])
    return {
        "n_inputs": len(measured.inputs),
        "n_available": measured.n_available,
        "dead_below": DEAD_BELOW,
        "seconds": measured.seconds,
        "frame": measured.frame,
        "clauses": figures,
    }


def _why(dead: bool, defined: bool) -> str:
    """Why a clause has no internalized share; empty where it has one."""
    if dead:
        return "no measurable effect on these inputs"
    return "" if defined else "the model does the same without any prompt"


def _by_number(
    clauses: Sequence[MeasuredClause], student: ByToken, floor: ByToken, seed: int
) -> dict[int, dict[str, float | None]]:
    """Internalized shares by the clauses' numbers, of those that have one."""
    found = internalized(losses([clause.effect for clause in clauses], student, floor), seed)
    return {
        clause.number: interval.as_dict()
        for clause, interval in zip(clauses, found, strict=True)
        if interval.value is not None
    }
