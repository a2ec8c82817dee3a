"""The teacher: the model in training with the prompt before each request, its adapter off.

With `genpi.teacher: start` the adapter that training starts from is on.

No second model and no server. The prompt is read once for every `ROWS_AT_ONCE` rows; one with
slots up to the first of them, and whole for rows that have the same values. Each row's targets are
computed once, before the first step with it, and stored under a key of everything they depend on,
so that later epochs, resumed runs and runs with other settings of the student find them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from axolotl.utils.logging import get_logger
from tqdm.auto import tqdm

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.data.examples import (
    TEACHER_IDS,
    TEACHER_KEY,
    TEACHER_LABELS,
    TEACHER_LENGTHS,
    TEACHER_PROMPT,
)
from genpi_plugin.errors import GenPIError
from genpi_plugin.reading.context import context_of_model
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.prefix import PrefixCache, shared_starts
from genpi_plugin.reading.supervised import supervised_states
from genpi_plugin.teacher.mark import Mark, check_off_is_base
from genpi_plugin.teacher.targets import Targets, TargetStore

LOG = get_logger("axolotl.genpi")
# Rows held in memory with their prompts; the prompt is read once for this many.
ROWS_AT_ONCE = 2048
TEACHER_COLUMNS = [TEACHER_IDS, TEACHER_LABELS, TEACHER_LENGTHS, TEACHER_PROMPT]


@dataclass(frozen=True)
class TeacherRow:
    """One row as the teacher reads it: token ids, and which of them are behaviour tokens."""

    key: str
    prompt: str
    sequences: list[tuple[list[int], list[int]]]

    @property
    def longest(self) -> int:
        return max(len(ids) for ids, _ in self.sequences)

    @property
    def supervised(self) -> int:
        return sum(label != IGNORE_INDEX for _, labels in self.sequences for label in labels)


class Teacher:
    """Gives the targets of rows by their key, and computes those that are missing."""

    # Whether the output head may be used outside the model's forward; see `SupervisedHead`.
    standalone = True

    def __init__(
        self,
        store: TargetStore,
        top_k: int | None,
        token_budget: int,
        with_adapter: bool = False,
        base: Mark | None = None,
    ) -> None:
        """
        Args:
            store: where targets are stored.
            top_k: tokens kept at each position; None keeps the whole vocabulary.
            token_budget: tokens in one forward pass, cached ones included; a longer sequence
                gets a pass of its own.
            with_adapter: the teacher is the model as training starts, its adapter on.
            base: of the base model before it had an adapter.
        """
        self.called = "the teacher"
        self.with_adapter = with_adapter
        self.base = base
        self.store = store
        self.top_k = top_k
        self.token_budget = token_budget
        self.rows: dict[str, tuple[Any, int]] = {}
        self._ready = False
        self._said = False

    def take_teacher_columns(self, dataset: Any) -> Any:
        """Keep the teacher's columns of a dataset; returns the dataset without them."""
        view = dataset.select_columns([*TEACHER_COLUMNS, TEACHER_KEY])
        for index, key in enumerate(view[TEACHER_KEY]):
            self.rows[key] = (view, index)
        self._ready = False
        return dataset.remove_columns(TEACHER_COLUMNS)

    def prepare(self, model: Any, accelerator: Any, step: int = 0) -> None:
        """Compute missing targets; every rank must call, and each computes its share.

        Args:
            model: the model in training, not wrapped; its adapter can be switched off.
            step: how many steps the adapter has been trained.

        Raises:
            GenPIError: the model with its adapter off is not the base model, targets are missing
                that only the adapter before the first step could give, a row is longer than the
                model's context, or the targets of another process are not visible here.
        """
        if self._ready:
            return
        keys = sorted(self.rows)
        self.check_base(model)
        missing = self._missing(keys)
        if not self._said:
            LOG.info(
                f"genpi: {self.called} reads {len(missing)} of {len(keys)} rows; its targets are "
                f"stored in {self.store.folder}"
            )
            self._said = True
        if missing and self.with_adapter and step:
            raise GenPIError(
                f"{len(missing)} of {self.called}'s {len(keys)} targets are missing, and the "
                f"adapter that would give them has been trained for {step} steps "
                "(`genpi.teacher: start`).",
                "resume with the data and the `dataset_prepared_path` that training started with, "
                "or start anew.",
            )
        mine = self._to_read(keys, missing, accelerator)
        with tqdm(total=len(mine), desc="Teacher", unit="row", leave=False,
                  disable=not (mine and accelerator.is_local_main_process)) as bar:  # fmt: skip
            for start in range(0, len(mine), ROWS_AT_ONCE):
                rows = [self.row(key) for key in mine[start : start + ROWS_AT_ONCE]]
                for row, head, states in self.read(model, rows, bar.update):
                    self.store.put(row.key, self._targets(head, states))
        accelerator.wait_for_everyone()
        absent = sum(key not in self.store for key in keys)
        if absent:
            raise GenPIError(
                f"{absent} of {self.called}'s {len(keys)} targets are not in {self.store.folder}.",
                "set `dataset_prepared_path` to a folder that all nodes share.",
            )
        self._ready = True

    def check_base(self, model: Any) -> None:
        """Once: the model with its adapter off must be the base model; raises `GenPIError`."""
        if self.base is not None:
            with teaching(model, with_adapter=False):
                check_off_is_base(model, self.base)
            self.base = None  # it holds a whole vocabulary's numbers

    def targets(self, keys: Sequence[str], device: torch.device) -> Targets:
        """The targets of rows, concatenated, in the order of their behaviour tokens."""
        return self.store.get(keys).to(device)

    def row(self, key: str) -> TeacherRow:
        """A row as the teacher reads it; KeyError where it was never given."""
        view, index = self.rows[key]
        row = view[index]
        sequences, start = [], 0
        for length in row[TEACHER_LENGTHS]:
            stop = start + length
            sequences.append((row[TEACHER_IDS][start:stop], row[TEACHER_LABELS][start:stop]))
            start = stop
        return TeacherRow(key, row[TEACHER_PROMPT], sequences)

    def read(
        self, model: Any, rows: Sequence[TeacherRow], advance: Callable[[int], Any]
    ) -> Iterator[tuple[TeacherRow, SupervisedHead, torch.Tensor]]:
        """Read rows behind their prompts, each prompt once.

        Args:
            model: as in `prepare`. Until the last row is taken, it is the teacher.
            advance: called with the number of rows read, after each forward pass.

        Yields:
            a row, the output head, and its inputs [supervised tokens, any] before each supervised
            token. The order is the teacher's own.

        Raises:
            GenPIError: a row is longer than the model's context.
        """
        _check_lengths(model, rows)
        by_prompt: dict[str, list[TeacherRow]] = {}
        for row in rows:
            by_prompt.setdefault(row.prompt, []).append(row)
        with teaching(model, self.with_adapter):
            head = SupervisedHead(model, self.standalone)
            for group in _starting_alike(by_prompt.values()):
                requests = [
                    ids[: _first_target(labels)] for row in group for ids, labels in row.sequences
                ]
                longest = max(row.longest for row in group)
                prefix = PrefixCache(model, requests, longest=longest)
                for batch, counts, read in self._turns(list(self._batches(group))):
                    sequences = [sequence for row in batch for sequence in row.sequences]
                    states = supervised_states(model, head, prefix, sequences)
                    if counts:
                        parts = states.split([row.supervised for row in batch])
                        for row, part in zip(batch, parts, strict=True):
                            yield row, head, part
                    advance(read)

    def _missing(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if key not in self.store}

    def _to_read(
        self, keys: Sequence[str], missing: Collection[str], accelerator: Any
    ) -> list[str]:
        """The rows for `read`, of which it gives all back.

        By position among all keys, so that targets that others wrote don't change the shares.
        """
        share = keys[accelerator.process_index :: accelerator.num_processes]
        return [key for key in share if key in missing]

    def _turns(
        self, batches: Sequence[list[TeacherRow]]
    ) -> Iterator[tuple[list[TeacherRow], bool, int]]:
        """Batches as this process reads them: whether the result counts, and how many rows have
        been read then since the last one."""
        return ((batch, True, len(batch)) for batch in batches)

    def _targets(self, head: SupervisedHead, states: torch.Tensor) -> Targets:
        return Targets.join(
            [Targets.of(head.logits(states[part]), self.top_k) for part in head.parts(states)]
        )

    def _batches(self, rows: Sequence[TeacherRow]) -> Iterator[list[TeacherRow]]:
        """Rows of similar length together, longest first, within the token budget."""
        batch: list[TeacherRow] = []
        sequences = 0
        for row in sorted(rows, key=lambda row: (-row.longest, row.key)):
            sequences += len(row.sequences)
            if batch and batch[0].longest * sequences > self.token_budget:
                yield batch
                batch, sequences = [], len(row.sequences)
            batch.append(row)
        if batch:
            yield batch


@contextlib.contextmanager
def teaching(model: Any, with_adapter: bool) -> Iterator[None]:
    """The model as its own teacher: no dropout, no gradients, the adapter on or off."""
    training = model.training
    model.eval()
    adapter = contextlib.nullcontext() if with_adapter else model.disable_adapter()
    try:
        with adapter, torch.no_grad():
            yield
    finally:
        model.train(training)


def _starting_alike(prompts: Iterable[list[TeacherRow]]) -> Iterator[list[TeacherRow]]:
    """The rows of each prompt; of one with slots, rows with equal values by themselves."""
    for rows in prompts:
        starts = [row.sequences[0] for row in rows]
        for places in shared_starts([ids[: _first_target(labels)] for ids, labels in starts]):
            yield [rows[place] for place in places]


def _check_lengths(model: Any, rows: Sequence[TeacherRow]) -> None:
    limit = context_of_model(model)
    longest = max((row.longest for row in rows), default=0)
    if limit and longest > limit:
        raise GenPIError(
            f"with its prompt the longest conversation has {longest} tokens, but the model reads "
            f"{limit} at most (max_position_embeddings).",
            "shorten the prompt or the conversations, or train without `distill_weight`.",
        )


def _first_target(labels: Sequence[int]) -> int:
    return next(i for i, label in enumerate(labels) if label != IGNORE_INDEX)
