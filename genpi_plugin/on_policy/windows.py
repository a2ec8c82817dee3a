"""A window of steps at a time: draw its batches, let the student answer, let the teacher read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from axolotl.utils.logging import get_logger
from tqdm.auto import tqdm

from genpi_plugin.args import OnPolicySettings
from genpi_plugin.errors import GenPIError
from genpi_plugin.on_policy.batches import replaced, teacher_row
from genpi_plugin.on_policy.rollouts import Student, random_of
from genpi_plugin.on_policy.rows import Row, rows_of
from genpi_plugin.on_policy.schedule import Schedule
from genpi_plugin.on_policy.store import Rollout, RolloutStore
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.teacher.teacher import Teacher

LOG = get_logger("axolotl.genpi")
Batch = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """A micro-batch, its rows, and the student's answers to those that are on policy, by row."""

    batch: Batch
    rows: list[Row]
    answers: dict[str, list[Rollout]]


class OnPolicy:
    """Hands out the batches of a run's steps; on policy, with the student's own answers."""

    def __init__(
        self, settings: OnPolicySettings, teacher: Teacher, student: Student, store: RolloutStore
    ) -> None:
        self.settings = settings
        self.teacher = teacher
        self.student = student
        self.store = store
        self._schedule: Schedule | None = None
        self._drawn: list[Drawn] = []
        self._states: dict[str, torch.Tensor] = {}
        self._of: Any = None
        self._tried = False

    def take(self, iterator: Iterator[Batch], count: int, trainer: Any) -> list[Batch]:
        """The micro-batches of a step; every rank must call.

        Args:
            iterator: of the epoch's batches, as the collator makes them.
            count: micro-batches of this step.
            trainer: transformers' `Trainer`, in training.

        Raises:
            GenPIError: the teacher can't read along, `max_steps` leaves no step off policy
                where some are meant to be, or a server can't answer.
        """
        if iterator is not self._of:  # another epoch: what an earlier one left is not trained
            self._drawn, self._of = [], iterator
        step, accelerator = trainer.state.global_step, trainer.accelerator
        window = self._schedule_of(trainer).window(step)
        model = accelerator.unwrap_model(trainer.model)
        if not self._tried:
            with accelerator.autocast():
                self.student.try_out(model)
            self._tried = True
        if window is None:
            return list(islice(iterator, count))
        with accelerator.autocast():
            # A batch with a recorded answer asks for its targets, one without does not. All ranks
            # must compute theirs, so none may wait for such a batch.
            if self.settings.share < 1:
                self.teacher.prepare(model, accelerator, step)
            if not self._drawn:
                ahead = trainer.args.gradient_accumulation_steps * (window.stop - step - 1)
                drawn = list(islice(iterator, count + ahead))
                self._drawn = self._answered(drawn, step, window, model, accelerator)
                # A head whose inputs say less than its outputs gives those, and they are large:
                # then each step is read by itself.
                self._states = {}
                if SupervisedHead(model).standalone:
                    self._states = self._read(self._drawn, model, accelerator)
            now, self._drawn = self._drawn[:count], self._drawn[count:]
            states = self._states or self._read(now, model, accelerator)
        return [replaced(one.batch, one.rows, one.answers, states, self.settings) for one in now]

    def _schedule_of(self, trainer: Any) -> Schedule:
        last = trainer.state.max_steps
        if self._schedule is None or self._schedule.last != last:
            batches = len(trainer.callback_handler.train_dataloader)
            per_epoch = max(1, -(-batches // trainer.args.gradient_accumulation_steps))
            settings = self.settings
            schedule = Schedule.of(settings.epochs, settings.refresh, last, per_epoch)
            if trainer.args.max_steps > 0 and schedule.whole:
                _check_meant(settings.epochs, trainer.args.num_train_epochs, last, per_epoch)
            self._schedule = schedule
            LOG.info(
                f"genpi: the last {last - self._schedule.first} of {last} steps are on policy: the "
                f"student's own answers, refreshed every {settings.refresh} steps, are kept in "
                f"{self.store.folder}"
            )
        return self._schedule

    def _answered(
        self, batches: list[Batch], step: int, window: range, model: Any, accelerator: Any
    ) -> list[Drawn]:
        self.teacher.check_base(model)
        if accelerator.is_local_main_process:
            weights, first = self.student.weights(model), step == window.start
            self.store.begin(window.start, self.student.how, weights, first)
        accelerator.wait_for_everyone()
        rows = [rows_of(batch, self.teacher) for batch in batches]
        chosen = {row.key: row for its in rows for row in its if self._is_on(row, window.start)}
        answers = self._answers(list(chosen.values()), step, window, model, accelerator)
        return [
            Drawn(batch, its, {row.key: answers[row.key] for row in its if row.key in answers})
            for batch, its in zip(batches, rows, strict=True)
        ]

    def _is_on(self, row: Row, window: int) -> bool:
        draw = random_of(self.student.seed, "share", window, row.key).random()
        return draw < self.settings.share

    def _answers(
        self, rows: Sequence[Row], step: int, window: range, model: Any, accelerator: Any
    ) -> dict[str, list[Rollout]]:
        """By row; those that are not in the store are given now."""
        found = {row.key: self.store.get(window.start, row.key) for row in rows}
        missing = [row for row in rows if found[row.key] is None]
        if missing and step > window.start:
            LOG.warning(
                f"genpi: {len(missing)} of {len(rows)} rows have no answers from step "
                f"{window.start} in {self.store.folder}: the student gives them as it is after "
                f"step {step}."
            )
        asked = [(row, turn) for row in missing for turn in range(len(row.requests))]
        waiting = {row.key: len(row.requests) for row in missing}
        given: dict[str, dict[int, Rollout]] = {row.key: {} for row in missing}
        requests = [row.requests[turn] for row, turn in asked]
        names = [(window.start, row.key, turn) for row, turn in asked]
        with _bar("The student answers", len(asked), "answer", accelerator) as bar:

            def done(place: int, answer: Rollout) -> None:
                row, turn = asked[place]
                given[row.key][turn] = answer
                if len(given[row.key]) == waiting[row.key]:
                    found[row.key] = [given[row.key][at] for at in range(waiting[row.key])]
                    self.store.put(window.start, row.key, found[row.key] or [])
                bar.update(1)

            self.student.answer(model, requests, names, done)
        return {key: answers for key, answers in found.items() if answers is not None}

    def _read(
        self, drawn: Sequence[Drawn], model: Any, accelerator: Any
    ) -> dict[str, torch.Tensor]:
        """The teacher's head inputs along the answers, by row, on the CPU."""
        reads = {
            row.key: teacher_row(row, one.answers[row.key])
            for one in drawn
            for row in one.rows
            if row.key in one.answers
        }
        with _bar("The teacher reads along", len(reads), "row", accelerator) as bar:
            found = self.teacher.read(model, list(reads.values()), bar.update)
            return {row.key: states.cpu() for row, _, states in found}


def _check_meant(epochs: float, of: float, last: int, per_epoch: int) -> None:
    """A part of the epochs is to be on policy, but `max_steps` would make it the whole run."""
    if epochs < of:
        raise GenPIError(
            f"`on_policy.epochs: {epochs:g}` of `num_epochs: {of:g}` are the last steps, but "
            f"`max_steps: {last}` ends the run within so many ({per_epoch} are an epoch): all of "
            "it would be on policy.",
            f"set `on_policy.epochs` below {last / per_epoch:g}, or to `num_epochs` if all of it "
            "is meant; or raise `max_steps`.",
        )


def _bar(text: str, total: int, unit: str, accelerator: Any) -> Any:
    hidden = not (total and accelerator.is_local_main_process)
    return tqdm(total=total, desc=text, unit=unit, leave=False, disable=hidden)
