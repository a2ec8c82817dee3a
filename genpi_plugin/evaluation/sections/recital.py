"""The prompt as an adapter writes it out when it is asked as in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genpi_plugin.data.prompt_generation import answer as recital_answer
from genpi_plugin.data.prompt_generation import parse_answer, question, recited_text
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.measured import Measured
from genpi_plugin.evaluation.figures.scores import chrf
from genpi_plugin.evaluation.figures.shared_words import longest_run
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.measure import Progress
from genpi_plugin.evaluation.subjects.subject import Subject

# Tokens that a recital may have besides the prompt's, for its reason.
REASON_ROOM = 512


@dataclass(frozen=True)
class Recital:
    """The prompt as the adapter wrote it out when asked as in training.

    `chrf` (0 to 100) is against the prompt; `longest_run` counts the words of the longest run that
    both texts share.
    """

    input: str
    prompt: str
    reason: str
    cut: bool
    chrf: float
    longest_run: int


def measure_recitals(context: Context, count: int) -> list[Recital] | None:
    """Ask the first student for the prompt, on `count` of the inputs; None for 0."""
    if not count:
        return None
    return recite(context.students[0], context.measured, context.floor.name, context.teacher,
                  count, context.progress)  # fmt: skip


def summarize_recitals(recitals: list[Recital], seed: int) -> dict[str, Any]:
    """chrF against the prompt and the longest run, means over the recitals."""
    chrfs = [recital.chrf for recital in recitals]
    runs = [float(recital.longest_run) for recital in recitals]
    return {
        "chrf": intervals.mean(chrfs, seed).as_dict(),
        "longest_run": intervals.mean(runs, seed).as_dict(),
        "n": len(recitals),
    }


def recite(
    student: Subject,
    measured: Measured,
    floor: str,
    teacher: Subject,
    count: int,
    progress: Progress,
) -> list[Recital]:
    """Ask for the prompt as in training, on `count` of the inputs."""
    prompt = prompt_text(teacher.prompt)
    whole = recited_text(prompt, teacher.tools)
    asked = [
        question(
            measured.inputs[i],
            measured.answers[floor][i].text,
            measured.answers[teacher.name][i].text,
        )
        for i in range(min(count, len(measured.inputs)))
    ]
    # Room for the whole prompt and a long reason; a recital that does not end by then is `cut`.
    room = len(student.view.ids(recital_answer(prompt, "", teacher.tools))) + REASON_ROOM
    requests = [student.request([{"role": "user", "content": text}]) for text in asked]
    with progress(f"{student.name} recites", len(requests)) as advance:
        answers = student.generate(requests, room, advance)
    recitals = []
    for text, generated in zip(measured.inputs, answers, strict=False):
        recited, reason = parse_answer(generated.text)
        recitals.append(
            Recital(
                text, recited, reason, generated.cut,
                chrf(recited, whole), longest_run(recited, whole),
            )
        )  # fmt: skip
    return recitals
