"""Which rules went in: each clause of the prompt taken away from the teacher, without a judge.

What is read here are divergences along the teacher's own answers; `clause_shares.py` makes figures
of them. No answer is made again but those that are shown side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import GenPIError
from .clause_shares import DEAD_BELOW, ByToken, Share, effect, is_dead, shares, shares_by_student
from .clause_split import marked, split, text_of, without
from .context import Context
from .reading import divergences, request_and_answer
from .subject import Generated, Subject

# At most so many of an evaluation's inputs, evenly spread: the cost is clauses times inputs.
MAX_INPUTS = 60
# Inputs shown for each clause.
WORST = 3
# Prompts without a clause whose KV caches are held at once; the teacher is read once for each lot.
AT_ONCE = 4
DECIMALS = 6


@dataclass(frozen=True)
class WorstInput:
    """An input whose answer misses the clause, as three systems answer it.

    `lost` is what of the clause is missing along the answer, in nats; `kl_teacher_student` is the
    whole divergence, in nats a token.
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


def measure_clauses(
    context: Context, clause_file: Path | None = None, max_inputs: int = MAX_INPUTS
) -> ClausesSeen:
    """Take each clause away from the teacher and see where its answers change.

    Args:
        clause_file: the user's own clauses, see `read_clause_file`; the prompt's form otherwise.

    Raises:
        GenPIError: a clause file that does not fit the prompt.
    """
    started = time.monotonic()
    teacher, prompt = context.teacher, context.teacher.prompt
    parts = marked(prompt, read_clause_file(clause_file)) if clause_file else split(prompt)
    clauses = [part for part in parts if part.kind != "frame"]
    chosen = spread(len(context.measured.inputs), max_inputs)
    inputs = [context.measured.inputs[i] for i in chosen]
    answers = [context.measured.answers[teacher.name][i] for i in chosen]
    ablated = [
        Subject(f"{teacher.name} without {number}", teacher.model, teacher.view,
                without(prompt, part), teacher.adapter, teacher.batch_size)
        for number, part in enumerate(clauses, 1)
    ]  # fmt: skip
    lots: list[list[Subject]] = [[context.floor, *context.students]]
    lots += [ablated[start : start + AT_ONCE] for start in range(0, len(ablated), AT_ONCE)]
    found: dict[str, ByToken] = {}
    with context.progress("teacher without a clause", len(lots) * len(inputs)) as advance:
        for lot in lots:
            found |= _follow(teacher, lot, inputs, answers, advance)
    whole = len(teacher.requests(inputs[:1])[0])
    decode = teacher.view.tokenizer.decode
    seen = ClausesSeen(
        inputs=inputs,
        n_available=len(context.measured.inputs),
        answers=[[decode([token]) for token in answer.ids] for answer in answers],
        clauses=[
            ClauseSeen(number, part.kind, part.name, text_of(prompt, part),
                       whole - len(subject.requests(inputs[:1])[0]), found[subject.name], [])
            for number, (part, subject) in enumerate(zip(clauses, ablated, strict=True), 1)
        ],
        students={student.name: found[student.name] for student in context.students},
        floor=found[context.floor.name],
        frame=[text_of(prompt, part) for part in parts if part.kind == "frame"],
        seconds=0.0,
    )  # fmt: skip
    seen = _with_worst(context, seen, chosen, ablated)
    return replace(seen, seconds=round(time.monotonic() - started, 1))


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
            "why": "no measurable effect on these inputs" if dead else "",
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


def read_clause_file(path: Path) -> dict[str, list[str]]:
    """A YAML mapping from a clause's name to its text in the prompt, or to several pieces of it.

    Raises:
        GenPIError: not such a mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GenPIError(f"{path}: {error.strerror}.", "give a file of clauses.") from error
    except yaml.YAMLError as error:
        raise GenPIError(f"{path} is not YAML: {error}.", "see docs/clauses.md.") from error
    cure = "write `name: a piece of the prompt, letter for letter`, or a list of pieces."
    if not isinstance(raw, dict) or not raw:
        raise GenPIError(f"{path} is not a mapping of clauses.", cure)
    found = {}
    for name, pieces in raw.items():
        listed = [pieces] if isinstance(pieces, str) else pieces
        is_list = isinstance(listed, list) and bool(listed)
        if not is_list or not all(isinstance(piece, str) and piece.strip() for piece in listed):
            raise GenPIError(f"{path}: the clause {name!r} is {pieces!r}.", cure)
        found[str(name)] = listed
    return found


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly spread: inputs may stand in an order of kinds."""
    if count <= most:
        return list(range(count))
    return [place * count // most for place in range(most)]


def _follow(
    teacher: Subject,
    others: Sequence[Subject],
    inputs: Sequence[str],
    answers: Sequence[Generated],
    advance: Callable[[int], None],
) -> dict[str, ByToken]:
    """KL(teacher||other) by token along given answers, in nats."""
    sequences = {
        subject.name: [
            request_and_answer(request, answer.ids)
            for request, answer in zip(subject.requests(inputs), answers, strict=True)
        ]
        for subject in (teacher, *others)
    }
    found = divergences(teacher, others, sequences, advance)
    return {
        name: [[round(value, DECIMALS) for value in tokens.tolist()] for tokens in by_input]
        for name, by_input in found.items()
    }


def _with_worst(
    context: Context, seen: ClausesSeen, chosen: Sequence[int], ablated: Sequence[Subject]
) -> ClausesSeen:
    """Add the inputs on which the first student misses most of each clause that has an effect."""
    student = context.students[0].name
    kl = seen.students[student]
    found = shares([clause.effect for clause in seen.clauses], kl, seen.floor)
    lively = [
        number for number, clause in enumerate(seen.clauses)
        if not is_dead(effect(clause.effect, context.seed))
    ]  # fmt: skip
    clauses = list(seen.clauses)
    answers = context.measured.answers
    with context.progress("answers without a clause", len(lively)) as advance:
        for number in lively:
            subject, places = ablated[number], _worst_places(found[number])
            requests = subject.requests([seen.inputs[place] for place in places])
            told = subject.generate(requests, context.max_new_tokens)
            worst = [
                WorstInput(
                    input=seen.inputs[place],
                    teacher=answers[context.teacher.name][chosen[place]].text,
                    without=answer.text,
                    student=answers[student][chosen[place]].text,
                    lost=round(found[number].lost[place], DECIMALS),
                    kl_teacher_student=round(sum(kl[place]) / max(len(kl[place]), 1), DECIMALS),
                )
                for place, answer in zip(places, told, strict=True)
            ]
            clauses[number] = replace(clauses[number], worst=worst)
            advance(1)
    return replace(seen, clauses=clauses)


def _worst_places(share: Share) -> list[int]:
    order = sorted(range(len(share.lost)), key=lambda place: -share.lost[place])
    return [place for place in order[:WORST] if share.lost[place] > 0.0]


def _figure(share: Share, seed: int) -> dict[str, float | None] | None:
    interval = share.internalized(seed)
    return None if interval.value is None else interval.as_dict()
