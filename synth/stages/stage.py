"""What a stage is: it takes a row and gives it back with more in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from synth.store.rows import Row
from synth.store.store import Generate
from synth.task.taskfile import Task


@dataclass(frozen=True)
class Ask:
    """What a stage may ask: the models, and what it should know.

    `await ask.target(Request(...))` asks the model that learns, `ask.generator` the one that writes
    inputs and reasons. Both look into the store first, and what they answer is stored and counted.
    `seed` is the run's.
    """

    target: Generate
    generator: Generate
    task: Task
    seed: int


class Stage(Protocol):
    """One step of a row's way.

    A stage starts when every stage before it that makes what it needs is through; stages that do
    not wait for each other run side by side.
    """

    @property
    def name(self) -> str:
        """What it is called: in the store, in counts and in messages."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields of the row that it reads and that other stages make."""

    @property
    def makes(self) -> tuple[str, ...]:
        """The fields of the row that it fills in or replaces."""

    async def __call__(self, row: Row, ask: Ask) -> Row:
        """The row with `makes` filled in (`dataclasses.replace`).

        Raises:
            synth.errors.RowError: the row can't be finished; it is rejected with the reason.
        """


@dataclass(frozen=True)
class FunctionStage:
    """A stage that is an async function; `stage` makes one."""

    name: str
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    function: Callable[[Row, Ask], Awaitable[Row]]

    async def __call__(self, row: Row, ask: Ask) -> Row:
        return await self.function(row, ask)


def stage(
    needs: Sequence[str] = (), makes: Sequence[str] = ()
) -> Callable[[Callable[[Row, Ask], Awaitable[Row]]], FunctionStage]:
    """Turn an async function `(row, ask) -> row` into a stage of its name; see `Stage`."""

    def of(function: Callable[[Row, Ask], Awaitable[Row]]) -> FunctionStage:
        return FunctionStage(function.__name__, tuple(needs), tuple(makes), function)

    return of
