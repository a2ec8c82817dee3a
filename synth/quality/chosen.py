"""The filters that a task names, ready to judge its rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from synth.errors import ReasonError, RowError, SynthError, TaskError
from synth.quality.shipped import SHIPPED
from synth.store.rows import Row, without_reason
from synth.task.modules import load_reference, raised
from synth.task.taskfile import Task

INPUTS = "inputs"


@dataclass(frozen=True)
class Filter:
    """One filter: its name in task.yml, behind which stages it judges, and its function.

    `after` is empty for the finished row. `sha256` is that of the source of the user's own, and ""
    for a shipped one.
    """

    name: str
    after: tuple[str, ...]
    judge: Callable[[Row], str | None]
    sha256: str = ""

    @property
    def shipped(self) -> bool:
        return ":" not in self.name


class Filters:
    """A task's filters, in the task's order."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = tuple(filters)

    def check(self, row: Row, stage: str, last: str = "") -> Row:
        """Judge a row behind a stage; `stage` "" is for the finished row, behind the `last` stage.

        Returns:
            The row; without floor output and reason where a filter rejects only these.

        Raises:
            RowError: a filter rejects it; `filter` names the filter.
            SynthError: a filter of the user's own raised an error, or returned what is no reason.
        """
        for one in self._filters:
            if stage in one.after or (not stage and not one.after):
                try:
                    _check(one, row)
                except ReasonError as error:
                    row = without_reason(row, stage or last, error)
        return row

    def check_input(self, row: Row, written: str) -> None:
        """Judge a generated input, as `check` does.

        Args:
            row: the row to be, with the input as the application sends it: for the user's filters.
            written: what the generator wrote, before `inputs.wrap`: for the shipped ones.
        """
        plain = replace(row, input=written)
        for one in self._filters:
            if INPUTS in one.after:
                _check(one, plain if one.shipped else row)

    def check_given(self, row: Row) -> None:
        """Judge an input of the user's own, as `check` does: by the user's own filters alone."""
        for one in self._filters:
            if INPUTS in one.after and not one.shipped:
                _check(one, row)


def chosen_filters(task: Task) -> list[Filter]:
    """The filters that `filters` in task.yml names.

    Raises:
        TaskError: one of the user's own is not there or no function, or wants to judge behind a
            stage that the task has not.
    """
    shipped = {function.__name__: function for function in SHIPPED}
    return [
        Filter(name, shipped[name].after, functools.partial(shipped[name], task=task))  # type: ignore[attr-defined]
        if name in shipped
        else _own(name, task)
        for name in task.config.filters
    ]


def _own(reference: str, task: Task) -> Filter:
    loaded = load_reference(reference, "filters", task.source.parent)
    if not callable(loaded.value):
        raise TaskError(
            f"`filters`: {reference} is not a function.",
            "A filter takes a row and returns None to keep it, or the reason to reject it.",
        )
    after: Any = getattr(loaded.value, "after", ())
    after = (after,) if isinstance(after, str) else tuple(after)
    unknown = [stage for stage in after if stage not in task.config.stage_names]
    if unknown:
        raise TaskError(
            f"`filters`: {reference} judges after {', '.join(map(str, unknown))}, which is not a "
            "stage of the task.",
            f"Its stages are {', '.join(task.config.stage_names)}.",
        )
    return Filter(reference, after, functools.partial(_guarded, loaded.value, reference),
                  loaded.sha256)  # fmt: skip


def _check(one: Filter, row: Row) -> None:
    try:
        reason = one.judge(row)
        if reason is not None:
            raise RowError(reason)
    except RowError as error:
        error.filter = one.name
        raise


def _guarded(function: Callable[[Row], Any], reference: str, row: Row) -> str | None:
    """A filter of the user's own, whose errors name it and the row."""
    where = f"row {row.position + 1} (input: {' '.join(row.input.split())[:120]!r})"
    try:
        reason = function(row)
    except SynthError:
        raise
    except Exception as error:
        raise SynthError(
            f"The filter {reference} failed at {where}: {raised(error)}.",
            "Correct the filter, or leave it out of `filters` in task.yml. What was made so far is "
            "kept.",
        ) from error
    if reason is None or (isinstance(reason, str) and reason.strip()):
        return reason
    raise SynthError(
        f"The filter {reference} returned {reason!r} at {where}.",
        "It returns None to keep a row, or the reason to reject it, as a text.",
    )
