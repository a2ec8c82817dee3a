"""Floor, teacher and student on the same inputs: answers, divergences, recitals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from ..prompt_generation import answer as recital_answer
from ..prompt_generation import parse_answer, question
from ..rows import prompt_text
from .scores import Score, chrf
from .subject import Generated, Subject

# Called with a label and a total; yields a function that moves the bar on by n.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Measured:
    """Everything that was seen, by input; figures are made from it in `summary.py`.

    `kl` holds, for each system, KL(teacher||system) summed over the answer's tokens, in nats.
    """

    inputs: list[str]
    answers: dict[str, list[Generated]]
    kl: dict[str, list[float]]
    tokens: list[int]
    scores: dict[str, dict[str, list[float]]]
    request_tokens: dict[str, list[int]]


@dataclass(frozen=True)
class Recital:
    """The prompt as the adapter wrote it out when asked as in training, and its chrF (0 to 100)."""

    input: str
    prompt: str
    reason: str
    cut: bool
    chrf: float


def measure(
    inputs: Sequence[str],
    teacher: Subject,
    others: Sequence[Subject],
    scores: dict[str, Score],
    max_new_tokens: int,
    progress: Progress,
) -> Measured:
    """Let every system answer every input, and follow the teacher's answers with each of them.

    Args:
        others: floor and student(s).
        max_new_tokens: limit of an answer; answers it cuts are marked so.
    """
    systems = [teacher, *others]
    answers, requests = {}, {}
    for system in systems:
        requests[system.name] = system.requests(inputs)
        with progress(f"{system.name} answers", len(inputs)) as advance:
            answers[system.name] = system.generate(requests[system.name], max_new_tokens, advance)
    given = [generated.ids for generated in answers[teacher.name]]
    return Measured(
        inputs=list(inputs),
        answers=answers,
        kl=_divergences(teacher, others, requests, given, progress),
        tokens=[len(ids) for ids in given],
        scores={
            system.name: {
                name: [
                    score(mine.text, reference.text)
                    for mine, reference in zip(
                        answers[system.name], answers[teacher.name], strict=True
                    )
                ]
                for name, score in scores.items()
            }
            for system in systems
        },
        request_tokens={name: [len(ids) for ids in found] for name, found in requests.items()},
    )


def kl_sum(teacher: torch.Tensor, other: torch.Tensor) -> float:
    """KL(teacher||other) over the whole vocabulary, summed over positions, in nats.

    Args: log-probabilities, [positions, vocabulary] each.
    """
    return float((teacher.exp() * (teacher - other)).sum())


def recite(
    student: Subject,
    measured: Measured,
    floor: str,
    teacher: Subject,
    count: int,
    progress: Progress,
) -> list[Recital]:
    """Ask for the prompt as in training, on `count` of the inputs."""
    if not count:
        return []
    prompt = prompt_text(teacher.prompt)
    asked = [
        question(
            measured.inputs[i],
            measured.answers[floor][i].text,
            measured.answers[teacher.name][i].text,
        )
        for i in range(min(count, len(measured.inputs)))
    ]
    # Room for the whole prompt and a long reason; a recital that runs on is cut, and marked so.
    room = len(student.view.ids(recital_answer(prompt, ""))) + 512
    requests = [student.request([{"role": "user", "content": text}]) for text in asked]
    with progress(f"{student.name} recites", len(requests)) as advance:
        told = student.generate(requests, room, advance)
    recitals = []
    for text, generated in zip(measured.inputs, told, strict=False):
        recited, reason = parse_answer(generated.text)
        recitals.append(Recital(text, recited, reason, generated.cut, chrf(recited, prompt)))
    return recitals


def _divergences(
    teacher: Subject,
    others: Sequence[Subject],
    requests: dict[str, list[list[int]]],
    given: list[list[int]],
    progress: Progress,
) -> dict[str, list[float]]:
    found = {system.name: [0.0] * len(given) for system in (teacher, *others)}
    with progress("divergence from the teacher", len(given)) as advance:
        for batch, targets in teacher.logprobs(requests[teacher.name], given):
            answers = [given[i] for i in batch]
            for system in others:
                wanted = [requests[system.name][i] for i in batch]
                for within, logprobs in system.logprobs(wanted, answers):
                    for place, mine in zip(within, logprobs, strict=True):
                        found[system.name][batch[place]] = kl_sum(targets[place], mine)
            advance(len(batch))
    return found
