"""Batches with the student's own answers in place of the recorded ones.

Worked example. A batch of two rows, of which the first is on policy; it has two turns:

    before   [row 1 | row 2 | recital of row 2]
    after    [row 2 | turn 1 of row 1 | turn 2 of row 1 | recital of row 2]

The behaviour half is what stays off policy; `Own` tells of the sequences behind it, one for each
answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from genpi_plugin.args import OnPolicySettings
from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.data.examples import (
    BEHAVIOUR_SEQUENCES,
    LENGTHS,
    ROW_SEQUENCES,
    TEACHER_KEY,
    TOKENS,
)
from genpi_plugin.on_policy.rows import Row, Sequence_, split
from genpi_plugin.on_policy.store import Rollout
from genpi_plugin.on_policy.targets import Own, OwnTargets, joined
from genpi_plugin.teacher.teacher import TeacherRow

OWN = "genpi_own"


def behind(request: list[int], answer: Rollout) -> Sequence_:
    """Token ids and labels of a request and its answer."""
    return [*request, *answer.ids], [IGNORE_INDEX] * len(request) + answer.ids


def teacher_row(row: Row, answers: Sequence[Rollout]) -> TeacherRow:
    """The student's answers to a row as the teacher reads them."""
    sequences = [
        behind(request, answer)
        for request, answer in zip(row.teacher_requests, answers, strict=True)
    ]
    return TeacherRow(row.key, row.prompt, sequences)


def replaced(
    batch: dict[str, Any],
    rows: Sequence[Row],
    answers: Mapping[str, list[Rollout]],
    states: Mapping[str, torch.Tensor],
    settings: OnPolicySettings,
) -> dict[str, Any]:
    """A batch whose on-policy rows have their own answers.

    Args:
        batch: of `GenPICollator`.
        rows: all of its rows.
        answers: by row, of those that are on policy.
        states: the teacher's head inputs along them, by row.
    """
    count = batch[BEHAVIOUR_SEQUENCES]
    parts = split(batch["input_ids"][0], batch["labels"][0], batch[LENGTHS])
    off = [row for row in rows if row.key not in answers]
    on = [row for row in rows if row.key in answers]
    recorded = [sequence for row in off for sequence in row.sequences]
    given = [answer for row in on for answer in answers[row.key]]
    own = [
        behind(request, answer)
        for row in on
        for request, answer in zip(row.requests, answers[row.key], strict=True)
    ]
    tokens = sum(len(answer.ids) for answer in given)
    ordered = [*recorded, *own, *parts[count:]]
    device = batch["input_ids"].device
    return {
        **batch,
        "input_ids": torch.tensor([[t for ids, _ in ordered for t in ids]], device=device),
        "labels": torch.tensor([[t for _, labels in ordered for t in labels]], device=device),
        LENGTHS: [len(ids) for ids, _ in ordered],
        BEHAVIOUR_SEQUENCES: len(recorded),
        ROW_SEQUENCES: [len(row.sequences) for row in off],
        TOKENS: [sum(row.recorded for row in off) + tokens, batch[TOKENS][1]],
        TEACHER_KEY: [row.teacher_key for row in off],
        OWN: Own(
            sequences=len(own),
            targets=OwnTargets(joined([states[row.key] for row in on]), settings),
            tokens=tokens,
            answers=len(given),
            cut=sum(answer.cut for answer in given),
            recorded=sum(row.recorded for row in on),
        ),
    }
