"""A batch's rows taken apart: which requests the student answers, and how the teacher reads them.

Worked example. A row of two turns, as the student and as the teacher read it (capitals: answers):

    student    u u A A u B        asked:  [u u] and [u u A A u]
    teacher    p p u u A A u B            [p p u u] and [p p u u A A u]

Each request is answered once. The history before a later turn is the recorded one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.data.examples import BEHAVIOUR_SEQUENCES, LENGTHS, ROW_SEQUENCES, TEACHER_KEY
from genpi_plugin.errors import GenPIError
from genpi_plugin.teacher.teacher import TeacherRow

# Token ids and labels of one sequence.
Sequence_ = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Row:
    """A row's behaviour half in a batch, and the requests in it.

    `key` names the requests, `teacher_key` the row among the teacher's.
    """

    key: str
    teacher_key: str
    prompt: str
    sequences: list[Sequence_]
    requests: list[list[int]]
    teacher_requests: list[list[int]]

    @property
    def recorded(self) -> int:
        """Supervised tokens of its recorded answers."""
        return sum(label != IGNORE_INDEX for _, labels in self.sequences for label in labels)


def rows_of(batch: dict[str, Any], teacher: Any) -> list[Row]:
    """The rows of a batch of `GenPICollator`, in its order.

    Args:
        teacher: a `Teacher` that knows them.

    Raises:
        GenPIError: the teacher has another number of answers in a row than the student.
    """
    count = batch[BEHAVIOUR_SEQUENCES]
    sequences = split(batch["input_ids"][0], batch["labels"][0], batch[LENGTHS][:count])
    rows, start = [], 0
    for key, length in zip(batch[TEACHER_KEY], batch[ROW_SEQUENCES], strict=True):
        rows.append(_row(teacher.row(key), sequences[start : start + length]))
        start += length
    return rows


def split(ids: Any, labels: Any, lengths: Sequence[int]) -> list[Sequence_]:
    """Concatenated sequences (tensors) as lists."""
    found, start = [], 0
    as_ids, as_labels = ids.tolist(), labels.tolist()
    for length in lengths:
        stop = start + length
        found.append((as_ids[start:stop], as_labels[start:stop]))
        start = stop
    return found


def requests_of(sequences: Sequence[Sequence_]) -> list[list[int]]:
    """The tokens before each answer: before each run of supervised tokens."""
    return [
        ids[:place]
        for ids, labels in sequences
        for place in range(1, len(ids))
        if labels[place] != IGNORE_INDEX and labels[place - 1] == IGNORE_INDEX
    ]


def student_requests(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[int]]:
    """Every request of a training set, as the student reads it.

    Args:
        rows: of `Pair.columns`.
    """
    for row in rows:
        lengths = row[LENGTHS][: row[BEHAVIOUR_SEQUENCES][0]]
        ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
        yield from requests_of(split(ids, labels, lengths))


def _row(read: TeacherRow, sequences: list[Sequence_]) -> Row:
    requests, with_prompt = requests_of(sequences), requests_of(read.sequences)
    if len(requests) != len(with_prompt):
        raise GenPIError(
            f"a row has {len(requests)} answers without its prompt and {len(with_prompt)} with it: "
            "two of them follow each other without a token between.",
            "set another `chat_template:`, or train off policy: remove `genpi.on_policy`.",
        )
    named = json.dumps([read.key, requests])
    key = hashlib.sha256(named.encode()).hexdigest()[:32]
    return Row(key, read.key, read.prompt, sequences, requests, with_prompt)
