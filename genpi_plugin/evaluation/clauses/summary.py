"""What was read of the clauses, and the figures of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .shares import DEAD_BELOW, ByToken, Share, effect, is_dead, shares_by_student


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
    effects = [clause.effect for clause in seen.clauses]
    by_student = shares_by_student(effects, seen.students, seen.floor)
    first = next(iter(by_student))
    intervals = [effect(clause.effect, seed) for clause in seen.clauses]
    total = sum(interval.value or 0.0 for interval in intervals) or 1.0
    figures: list[dict[str, Any]] = []
    for place, (clause, interval) in enumerate(zip(seen.clauses, intervals, strict=True)):
        dead = is_dead(interval)
        internalized = {
            name: None if dead else _figure(found[place], seed)
            for name, found in by_student.items()
        }
        figures.append({
            "number": clause.number,
            "kind": clause.kind,
            "name": clause.name,
            "text": clause.text,
            "tokens": clause.tokens,
            "effect": interval.as_dict(),
            "effect_share": (interval.value or 0.0) / total,
            "internalized": internalized[first],
            "students": internalized,
            "dead": dead,
            "why": _why(dead, internalized[first] is not None),
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


def _figure(share: Share, seed: int) -> dict[str, float | None] | None:
    interval = share.internalized(seed)
    return None if interval.value is None else interval.as_dict()
