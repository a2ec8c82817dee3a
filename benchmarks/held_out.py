"""Held-out requests, as benchmarks measure adapters of their own training on them."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from benchmarks.common import quiet
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.rows import Row
from genpi_plugin.evaluation.figures.measured import Measured
from genpi_plugin.evaluation.figures.names import FLOOR, TEACHER
from genpi_plugin.evaluation.figures.scores import make_scores
from genpi_plugin.evaluation.measuring.measure import kl_sum, measure
from genpi_plugin.evaluation.sections.recital import recite
from genpi_plugin.evaluation.subjects.reading import logprobs
from genpi_plugin.evaluation.subjects.subject import Subject


class HeldOut:
    """Held-out requests with the teacher's and the floor's answers and distributions."""

    def __init__(self, model: Any, view: ChatView, rows: list[Row], inputs: list[str],
                 pattern: str) -> None:  # fmt: skip
        self.scores = make_scores(pattern)
        self.teacher = Subject(TEACHER, model, view, rows[0].prompt)
        floor = Subject(FLOOR, model, view)
        self.measured: Measured = measure(inputs, self.teacher, [floor], self.scores, 96, quiet)
        self.requests = floor.requests(inputs)
        self.answers = [generated.ids for generated in self.measured.answers[TEACHER]]
        self.truth: dict[int, torch.Tensor] = {}
        asked = self.teacher.requests(inputs)
        for batch, found in logprobs(self.teacher, asked, self.answers):
            self.truth |= dict(zip(batch, found, strict=True))

    def internalization(self, student: Subject) -> float:
        """1 - KL(teacher || student) / KL(teacher || floor)."""
        divergence = 0.0
        for batch, found in logprobs(student, self.requests, self.answers):
            divergence += sum(kl_sum(self.truth[i], mine)
                              for i, mine in zip(batch, found, strict=True))  # fmt: skip
        return 1.0 - divergence / sum(self.measured.kl[FLOOR])

    def task_scores(self, student: Subject) -> dict[str, float]:
        """Shares of well-formed actions and of the teacher's own."""
        said = [generated.text for generated in student.generate(self.requests, 96)]
        told = [generated.text for generated in self.measured.answers[TEACHER]]
        return {name: statistics.mean(map(self.scores[name], said, told))
                for name in ("valid", "agreement")}  # fmt: skip

    def recitation(self, student: Subject) -> float:
        """chrF of the recited prompt."""
        [recital] = recite(student, self.measured, FLOOR, self.teacher, 1, quiet)
        return recital.chrf
