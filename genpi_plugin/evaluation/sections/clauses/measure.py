"""Which rules were internalized: each clause removed from the teacher's prompt, without a judge.

Measured here are divergences along the teacher's own answers; `shares.py` computes figures from
them. The only new answers are those that the report shows side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from genpi_plugin.evaluation.figures.measured import Generated
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.sections.clauses.clause_file import parts_of
from genpi_plugin.evaluation.sections.clauses.shares import ByToken, effect, is_dead, losses
from genpi_plugin.evaluation.sections.clauses.split import (
    text_of,
    tool_parts,
    tools_without,
    without,
)
from genpi_plugin.evaluation.sections.clauses.summary import (
    MeasuredClause,
    MeasuredClauses,
    WorstInput,
)
from genpi_plugin.evaluation.subjects.reading import divergences, request_and_answer
from genpi_plugin.evaluation.subjects.subject import Input, Subject

# Use at most this many inputs, evenly spaced: the cost is clauses times inputs.
MAX_INPUTS = 60
# Inputs shown for each clause.
WORST = 3
# Prompts without a clause whose KV caches are held at once; the teacher is read once per group.
CLAUSES_AT_ONCE = 4
DECIMALS = 6


def measure_clauses(
    context: Context, clause_file: Path | None = None, max_inputs: int = MAX_INPUTS
) -> MeasuredClauses:
    """Remove each clause from the teacher's prompt, and each tool from its tools, and measure where
    its answers change.

    Args:
        clause_file: the user's own clauses, see `read_clause_file`.
        max_inputs: use at most this many inputs.

    Raises:
        GenPIError: a clause file that does not fit the prompt.
    """
    started = time.monotonic()
    teacher, prompt = context.teacher, context.teacher.prompt
    parts = [*parts_of(prompt, clause_file), *tool_parts(teacher.tools)]
    clauses = [part for part in parts if part.kind != "frame"]
    chosen = evenly_spaced(len(context.measured.inputs), max_inputs)
    inputs = [context.data.asked[i] for i in chosen]
    answers = [context.measured.answers[teacher.name][i] for i in chosen]
    ablated = [
        Subject(f"{teacher.name} without {number}", teacher.model, teacher.view,
                without(prompt, part), teacher.adapter, teacher.batch_size,
                tools_without(teacher.tools, part))
        for number, part in enumerate(clauses, 1)
    ]  # fmt: skip
    groups: list[list[Subject]] = [[context.floor, *context.students]]
    groups += [
        ablated[start : start + CLAUSES_AT_ONCE]
        for start in range(0, len(ablated), CLAUSES_AT_ONCE)
    ]
    found: dict[str, ByToken] = {}
    with context.progress("teacher without a clause", len(groups) * len(inputs)) as advance:
        for group in groups:
            found |= _divergences_by_token(teacher, group, inputs, answers, advance)
    full_length = len(teacher.requests(inputs[:1])[0])
    decode = teacher.view.tokenizer.decode
    measured = MeasuredClauses(
        inputs=[context.measured.inputs[i] for i in chosen],
        n_available=len(context.measured.inputs),
        answers=[[decode([token]) for token in answer.ids] for answer in answers],
        clauses=[
            MeasuredClause(number, part.kind, part.name, text_of(prompt, part, teacher.tools),
                       full_length - len(subject.requests(inputs[:1])[0]), found[subject.name], [])
            for number, (part, subject) in enumerate(zip(clauses, ablated, strict=True), 1)
        ],
        students={student.name: found[student.name] for student in context.students},
        floor=found[context.floor.name],
        frame=[text_of(prompt, part) for part in parts if part.kind == "frame"],
        seconds=0.0,
    )  # fmt: skip
    measured = _with_worst(context, measured, chosen, ablated)
    return replace(measured, seconds=round(time.monotonic() - started, 1))


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly spaced: inputs may be sorted by kind."""
    if count <= most:
        return list(range(count))
    return [place * count // most for place in range(most)]


def _divergences_by_token(
    teacher: Subject,
    others: Sequence[Subject],
    inputs: Sequence[Input],
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
    context: Context, measured: MeasuredClauses, chosen: Sequence[int], ablated: Sequence[Subject]
) -> MeasuredClauses:
    """Add the inputs on which the first student misses most of each clause that has an effect."""
    student = context.students[0].name
    kl = measured.students[student]
    lost = losses([clause.effect for clause in measured.clauses], kl, measured.floor).lost
    alive = [
        number for number, clause in enumerate(measured.clauses)
        if not is_dead(effect(clause.effect, context.seed))
    ]  # fmt: skip
    clauses = list(measured.clauses)
    answers = context.measured.answers
    with context.progress("answers without a clause", len(alive)) as advance:
        for number in alive:
            subject, places = ablated[number], _worst_places(lost[number].tolist())
            requests = subject.requests([context.data.asked[chosen[place]] for place in places])
            generated = subject.generate(requests, context.max_new_tokens)
            worst = [
                WorstInput(
                    input=measured.inputs[place],
                    teacher=answers[context.teacher.name][chosen[place]].text,
                    without=answer.text,
                    student=answers[student][chosen[place]].text,
                    lost=round(float(lost[number, place] / lost[number].sum()), DECIMALS),
                    kl_teacher_student=round(sum(kl[place]) / max(len(kl[place]), 1), DECIMALS),
                )
                for place, answer in zip(places, generated, strict=True)
            ]
            clauses[number] = replace(clauses[number], worst=worst)
            advance(1)
    return replace(measured, clauses=clauses)


def _worst_places(lost: Sequence[float]) -> list[int]:
    order = sorted(range(len(lost)), key=lambda place: -lost[place])
    return [place for place in order[:WORST] if lost[place] > 0.0]
