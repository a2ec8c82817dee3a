"""What was read of the clauses, and the figures of it."""

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
    """An input whose answer misses the clause, as three systems answer it.

    `lost` is its part of all that is lost of the clause, 0 to 1; `kl_teacher_student` is the
    divergence along its answer, whatever the clause, in nats a token.
    """

    input: str
    teacher: str
    without: str
    student: str
    lost: float
    kl_teacher_student: float


@dataclass(frozen=True)
class ClauseSeen:
    """One clause: what it says, and KL(T||T without it) for every token of every answer.

    `tokens` is by how much a request gets shorter without it.
    """

    number: int
    kind: str
    name: str
    text: str
    tokens: int
    effect: ByToken
    worst: list[WorstInput]


@dataclass(frozen=True)
class ClausesSeen:
    """What was read.

    Attributes:
        inputs: the inputs that were used.
        n_available: inputs of the evaluation.
        answers: the teacher's answers to them, cut into tokens.
        students: KL(T||S) by token, for each student; `floor` likewise.
        frame: pieces of the prompt that were never taken away.
    """

    inputs: list[str]
    n_available: int
    answers: list[list[str]]
    clauses: list[ClauseSeen]
    students: dict[str, ByToken]
    floor: ByToken
    frame: list[str]
    seconds: float


def summarize_clauses(seen: ClausesSeen, seed: int) -> dict[str, Any]:
    """Clauses by effect, the strongest first, with the internalized share of each.

    `internalized` is None with a `why` where a clause has no measurable effect.
    """
    effects = [effect(clause.effect, seed) for clause in seen.clauses]
    dead = [is_dead(interval) for interval in effects]
    # Clauses without an effect have no share, and no part in what the others lost.
    lively = [clause for clause, is_gone in zip(seen.clauses, dead, strict=True) if not is_gone]
    shares = {
        name: _by_number(lively, student, seen.floor, seed)
        for name, student in seen.students.items()
    }
    first = next(iter(shares))
    total = sum(interval.value or 0.0 for interval in effects) or 1.0
    figures: list[dict[str, Any]] = []
    for clause, interval, is_gone in zip(seen.clauses, effects, dead, strict=True):
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
        "n_inputs": len(seen.inputs),
        "n_available": seen.n_available,
        "dead_below": DEAD_BELOW,
        "seconds": seen.seconds,
        "frame": seen.frame,
        "clauses": figures,
    }


def _why(dead: bool, defined: bool) -> str:
    """Why a clause has no internalized share; empty where it has one."""
    if dead:
        return "no measurable effect on these inputs"
    return "" if defined else "the model does the same without any prompt"


def _by_number(
    clauses: Sequence[ClauseSeen], student: ByToken, floor: ByToken, seed: int
) -> dict[int, dict[str, float | None]]:
    """Internalized shares by the clauses' numbers, of those that have one."""
    found = internalized(losses([clause.effect for clause in clauses], student, floor), seed)
    return {
        clause.number: interval.as_dict()
        for clause, interval in zip(clauses, found, strict=True)
        if interval.value is not None
    }
