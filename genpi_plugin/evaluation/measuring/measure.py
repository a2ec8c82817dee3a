"""Floor, teacher and the systems compared with them on the same inputs: answers and divergences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch

from genpi_plugin.data.chat import TokenSequence
from genpi_plugin.evaluation.figures.measured import Generated, Measured, OwnPath, gather
from genpi_plugin.evaluation.figures.names import FLOOR
from genpi_plugin.evaluation.figures.scores import Score
from genpi_plugin.evaluation.subjects.reading import (
    divergences,
    kl,
    kl_both_ways,
    request_and_answer,
)
from genpi_plugin.evaluation.subjects.subject import Input, Subject

# Called with a label and a total; yields a function that advances the bar by n.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def measure(
    inputs: Sequence[str],
    teacher: Subject,
    others: Sequence[Subject],
    scores: Mapping[str, Score],
    max_new_tokens: int,
    progress: Progress,
) -> Measured:
    """Let every system answer every input; read the teacher's answers with each system, and each
    system's own answers with the teacher.

    Args:
        others: floor, student(s), and the base model with other prompts.
        max_new_tokens: limit of an answer; answers that it cuts are marked `cut`.
    """
    systems = [teacher, *others]
    answers = {s.name: answer_all(s, inputs, max_new_tokens, progress) for s in systems}
    floor = next(system for system in others if system.name == FLOOR)
    return gather(
        inputs,
        answers,
        divergence_sums(inputs, teacher, others, answers[teacher.name], progress),
        {s.name: [len(request) for request in s.requests(inputs)] for s in systems},
        scores,
        teacher.name,
        own_path={
            s.name: own_path(inputs, teacher, floor, s, answers[s.name], progress) for s in others
        },
    )


def answer_all(
    system: Subject, inputs: Sequence[Input], max_new_tokens: int, progress: Progress
) -> list[Generated]:
    """A system's greedy answers, one per input."""
    with progress(f"{system.name} answers", len(inputs)) as advance:
        return system.generate(system.requests(inputs), max_new_tokens, advance)


def divergence_sums(
    inputs: Sequence[Input],
    teacher: Subject,
    others: Sequence[Subject],
    answers: Sequence[Generated],
    progress: Progress,
) -> dict[str, list[float]]:
    """KL(teacher||other) along the teacher's answers, summed over each answer's tokens, in nats."""
    sequences = {s.name: _with_answers(s, inputs, answers) for s in (teacher, *others)}
    with progress("divergence from the teacher", len(inputs)) as advance:
        found = divergences(teacher, others, sequences, advance)
    return {name: [float(tokens.sum()) for tokens in by_input] for name, by_input in found.items()}


def own_path(
    inputs: Sequence[Input],
    teacher: Subject,
    floor: Subject,
    system: Subject,
    answers: Sequence[Generated],
    progress: Progress,
) -> OwnPath:
    """The teacher, the system and the floor along the system's own answers.

    Args:
        answers: the system's, one per input.
    """
    others = [floor] if system.name == floor.name else [system, floor]
    sequences = {s.name: _with_answers(s, inputs, answers) for s in (teacher, *others)}
    with progress(f"divergence along the answers of {system.name}", len(inputs)) as advance:
        found = divergences(teacher, others, sequences, advance, kl_both_ways)
    sums = {name: [tokens.sum(0).tolist() for tokens in each] for name, each in found.items()}
    return OwnPath(
        kl=[kl for kl, _ in sums[system.name]],
        reverse=[reverse for _, reverse in sums[system.name]],
        floor=[kl for kl, _ in sums[floor.name]],
    )


def _with_answers(
    system: Subject, inputs: Sequence[Input], answers: Sequence[Generated]
) -> list[TokenSequence]:
    """Given answers behind the requests as a system receives them."""
    return [
        request_and_answer(request, given.ids)
        for request, given in zip(system.requests(inputs), answers, strict=True)
    ]


def kl_sum(teacher: torch.Tensor, other: torch.Tensor) -> float:
    """KL(teacher||other) over the whole vocabulary, summed over positions, in nats.

    Args: log-probabilities, [positions, vocabulary] each.
    """
    return float(kl(teacher, other).sum())
