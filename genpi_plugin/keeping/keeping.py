"""The requests to keep in training: a few of them in each step, answered and read before they come.

Each is answered and read once, with those of the next steps: training begins with the first of
them, and a run that is stopped has not waited for what it never came to.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from axolotl.utils.logging import get_logger
from datasets import Dataset

from genpi_plugin.data import digests
from genpi_plugin.data.chat import IGNORE_INDEX, TokenSequence
from genpi_plugin.data.examples import LENGTHS, TEACHER_KEY, Pair
from genpi_plugin.keeping.answers import Writer
from genpi_plugin.keeping.requests import KeepRequest
from genpi_plugin.reading.generation import BATCH
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.teacher.teacher import Teacher

LOG = get_logger("axolotl.genpi")
# The place of these requests in a batch.
KEEP = "genpi_keep"
TOKENS = "tokens"
ANSWERS = "answers to requests to keep"
# Requests that are answered in one go, unless a step's are more: a full call.
AT_ONCE = BATCH


@dataclass
class Keeping:
    """The requests of a run with the answers of their reference.

    Args:
        requests: gives them, once there is the model (and accelerator and step, as `prepare`).
        writer: writes the reference's answers.
        reference: reads them.
        keep_rows: requests of a step.
        keep_tokens: of an answer at most.
        seed: of the order in which requests come.
        facts: for the manifest; filled once the requests are known.
    """

    requests: Callable[[Any, Any, int], list[KeepRequest]]
    writer: Writer
    reference: Teacher
    keep_rows: int
    keep_tokens: int
    seed: int
    facts: dict[str, Any] = field(default_factory=dict)
    # Of which there are none before `prepare`; and by their places among them, the rows of those
    # that are answered and read.
    kept: list[KeepRequest] = field(default_factory=list)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.kept)

    def prepare(self, model: Any, accelerator: Any, step: int = 0, last: int | None = None) -> None:
        """Have the reference answer and read a step's requests, and with them those of the next
        steps, where one of the step's is missing; every rank must call.

        The adapter answers all before its first step, where it is the reference: a later one would
        write others.

        Args:
            model: the model in training, not wrapped.
            step: how many steps the adapter has been trained.
            last: the run's steps. Requests that come in none of them are not answered, but where
                the adapter answers: a run that goes on later could not have them written.

        Raises:
            GenPIError: see `Writer.write` and `Teacher.prepare`.
        """
        first = not self.kept
        if first:
            self.reference.check_base(model)
            self.kept = self.requests(model, accelerator, step)
            digest = digests.of([[one.student, one.reference] for one in self.kept])
            self.facts |= {"requests": self.count, "digest": digest}
        if all(at in self.rows for at in self._places(step)):
            return
        wanted = list(range(self.count))
        if not self.writer.with_adapter:
            wanted = coming(step, last, self.keep_rows, self.count, self.seed, self.rows)
        key_of = {at: self.writer.key(self.kept[at].reference, self.keep_tokens) for at in wanted}
        asked = {key: self.kept[at].reference for at, key in key_of.items()}
        answers = self.writer.write(model, asked, self.keep_tokens, accelerator, step, ANSWERS)
        rows = {at: row_of(self.kept[at], answers[key]) for at, key in key_of.items()}
        self.reference.take_teacher_columns(Dataset.from_list(list(rows.values())))
        self.reference.prepare(model, accelerator, step)
        self.rows |= rows
        if first:
            ended = sum(ids[-1] in self.writer.end_ids for ids in answers.values())
            LOG.info(
                f"genpi: {self.count} requests to keep, {min(self.keep_rows, self.count)} a step; "
                f"of the first {len(answers)} answers {ended} end within {self.keep_tokens} tokens"
            )

    def add(
        self, batches: list[dict[str, Any]], step: int, process: int, processes: int, device: Any
    ) -> int:
        """Put a process's share of a step's requests into its batches.

        Returns: supervised tokens of all the step's requests, in all batches and processes.
        """
        chosen = [self.rows[at] for at in self._places(step)]
        mine = chosen[process::processes]
        for number, batch in enumerate(batches):
            batch[KEEP] = batch_of(mine[number :: len(batches)], device)
        return sum(map(_supervised, chosen))

    def targets(self, keys: Sequence[str], device: torch.device) -> Targets:
        return self.reference.targets(keys, device)

    def _places(self, step: int) -> list[int]:
        return places(step, self.keep_rows, self.count, self.seed)


def places(step: int, each: int, count: int, seed: int) -> list[int]:
    """Which of `count` requests stand in a step of `each`: by seed and step alone.

    All are walked through in a drawn order, then again in another, so that none comes more than
    once more often than others. Where a step takes more than there are, it has each once.
    """
    each = min(each, count)
    walked = range(step * each, (step + 1) * each)
    return [_order(seed, place // count, count)[place % count] for place in walked]


def coming(
    step: int, last: int | None, each: int, count: int, seed: int, answered: Collection[int]
) -> list[int]:
    """Which of `count` requests come next and are not `answered` yet: of this step and of
    those behind it, up to `AT_ONCE` (all of a step's in any case), in the order of their places.

    Args:
        step, each, count, seed: as of `places`.
        last: the run's steps; None for any number.
    """
    found: set[int] = set()
    while (last is None or step < last) and len(answered) + len(found) < count:
        new = set(places(step, each, count, seed)) - set(answered)
        if found and len(found | new) > AT_ONCE:
            break
        found |= new
        step += 1
    return sorted(found)


@lru_cache(maxsize=4)
def _order(seed: int, walk: int, count: int) -> list[int]:
    return random.Random(f"{seed} {walk}").sample(range(count), count)


def row_of(request: KeepRequest, answer: Sequence[int]) -> dict[str, Any]:
    """A request with an answer, in the columns of a pair (`Pair.columns`)."""
    student, reference = TokenSequence(), TokenSequence()
    for sequence, ids in ((student, request.student), (reference, request.reference)):
        sequence.extend(ids, supervised=False)
        sequence.extend(answer, supervised=True)
    return Pair([student], [], [reference], KEEP).columns()


def batch_of(rows: Sequence[dict[str, Any]], device: Any) -> dict[str, Any]:
    """Some of `row_of`'s rows as a part of a batch; without any, tensors of no tokens."""

    def joined(name: str) -> torch.Tensor:
        tokens = [token for row in rows for token in row[name]]
        return torch.tensor(tokens, dtype=torch.long, device=device)

    return {
        "input_ids": joined("input_ids"),
        "labels": joined("labels"),
        LENGTHS: [length for row in rows for length in row[LENGTHS]],
        TEACHER_KEY: [row[TEACHER_KEY] for row in rows],
        TOKENS: sum(map(_supervised, rows)),
    }


def _supervised(row: dict[str, Any]) -> int:
    return sum(label != IGNORE_INDEX for label in row["labels"])
