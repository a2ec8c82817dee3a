"""A task's stages in the order in which a row goes through them: which waits for which."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synth.errors import SynthError, TaskError
from synth.quality.chosen import INPUTS, Filters, chosen_filters
from synth.stages.conversations import conversations
from synth.stages.outputs import outputs
from synth.stages.reasons import reasons
from synth.stages.share import makes_for_recitals_alone
from synth.stages.stage import Ask, Stage
from synth.store.rows import COLUMNS, OPTIONAL, RECITED, Row
from synth.task.modules import load_reference, raised
from synth.task.taskfile import Task

SHIPPED: tuple[Stage, ...] = (outputs, reasons, conversations)
# What a row has from its beginning, and what a stage may make.
GIVEN = (
    *("position", "id", "prompt_id", "prompt", "tools", "slots"),
    *("kept", "request", "input"),
)
MADE = tuple(field.name for field in dataclasses.fields(Row) if field.name not in (*GIVEN, "lost"))


@dataclass(frozen=True)
class Plan:
    """The stages of a task behind the inputs, in waves, and the filters between them.

    Attributes:
        names: of all stages, the inputs first.
        waves: stages that run side by side; each wave waits for those before it.
        waits: for each name, the names of the stages that are through before it.
        filters: judge what the stages make.
        recitals: names of the stages that only rows with a reason go through: they make nothing
            but the floor output or the reason, or need one of them.
        sources: SHA-256 of the source of every stage and filter of the user's own, by name.
    """

    names: tuple[str, ...]
    waves: tuple[tuple[Stage, ...], ...]
    waits: Mapping[str, frozenset[str]]
    filters: Filters
    recitals: frozenset[str]
    sources: Mapping[str, str]


def plan_of(task: Task) -> Plan:
    """Put a task's stages and filters in order.

    Raises:
        TaskError: one of them is not there or not what it must be, a stage needs what none before
            it makes, or no stage makes a column of the dataset that every row has.
    """
    shipped = {one.name: one for one in SHIPPED}
    stages: list[Stage] = []
    sources = {}
    for reference in task.config.stages[1:]:
        if reference in shipped:
            stages.append(shipped[reference])
            continue
        own, sources[reference] = _own(reference, task)
        stages.append(own)
    _check_fields(stages, task)
    filters = chosen_filters(task)
    sources |= {one.name: one.sha256 for one in filters if not one.shipped}
    waves = _waves(stages)
    waits: dict[str, frozenset[str]] = {INPUTS: frozenset()}
    before = frozenset({INPUTS})
    for wave in waves:
        waits |= {one.name: before for one in wave}
        before |= {one.name for one in wave}
    recitals = frozenset(
        one.name
        for one in stages
        if makes_for_recitals_alone(one.makes) or not set(RECITED).isdisjoint(one.needs)
    )
    return Plan(task.config.stage_names, waves, waits, Filters(filters), recitals, sources)


def _waves(stages: Sequence[Stage]) -> tuple[tuple[Stage, ...], ...]:
    """Stages that may run side by side, together; the list's order decides who reads what.

    A stage waits for each one before it that makes what it needs or makes, and for each that needs
    what it makes: the result is that of one stage after the other.
    """
    wave_of: dict[str, int] = {}
    for place, one in enumerate(stages):
        wave_of[one.name] = max(
            (
                wave_of[other.name] + 1
                for other in stages[:place]
                if set(other.makes) & {*one.needs, *one.makes} or set(other.needs) & set(one.makes)
            ),
            default=0,
        )
    return tuple(
        tuple(one for one in stages if wave_of[one.name] == wave)
        for wave in range(max(wave_of.values(), default=-1) + 1)
    )


def _check_fields(stages: Sequence[Stage], task: Task) -> None:
    made = set(GIVEN)
    for one in stages:
        missing = [field for field in one.needs if field not in made]
        if missing:
            makers = [other.name for other in (*stages, *SHIPPED) if missing[0] in other.makes]
            raise TaskError(
                f"{task.source}: `stages`: {one.name} needs {', '.join(missing)}, which no stage "
                "before it makes.",
                f"Put {makers[0]} before it." if makers else
                f"A row has {', '.join((*GIVEN, *MADE))}.",
            )  # fmt: skip
        made |= set(one.makes)
    for column in COLUMNS:
        if column not in made and column not in (*RECITED, *OPTIONAL):
            makers = [other.name for other in SHIPPED if column in other.makes]
            raise TaskError(
                f"{task.source}: `stages`: no stage makes `{column}`, which every row of a dataset "
                "has.",
                f"Add {makers[0]}, or a stage of your own that makes it.",
            )


def _own(reference: str, task: Task) -> tuple[Stage, str]:
    """A stage of the user's own, whose errors name it and the row; and its source's SHA-256."""
    loaded = load_reference(reference, "stages", task.source.parent)
    one = loaded.value() if inspect.isclass(loaded.value) else loaded.value
    name = reference.rpartition(":")[2]
    fields: dict[str, Any] = {key: getattr(one, key, None) for key in ("needs", "makes")}
    if not callable(one) or any(
        not isinstance(value, tuple | list) or not all(isinstance(each, str) for each in value)
        for value in fields.values()
    ):
        raise TaskError(
            f"`stages`: {reference} is not a stage.",
            "Write `@synth.stage(needs=[...], makes=[...])` over an `async def name(row, ask)`, or "
            "give an object with name, needs, makes and `async __call__(row, ask)`.",
        )
    if getattr(one, "name", None) != name:
        raise TaskError(
            f"`stages`: {reference} calls itself {getattr(one, 'name', None)!r}.",
            f"Let its name be {name!r}: it is counted and stored under it.",
        )
    unknown = [field for field in fields["makes"] if field not in MADE]
    if unknown:
        raise TaskError(
            f"`stages`: {reference} makes {', '.join(unknown)}, which no stage can make.",
            f"A stage makes fields of the row: {', '.join(MADE)}.",
        )
    return _Own(name, tuple(fields["needs"]), tuple(fields["makes"]), one, reference), loaded.sha256


@dataclass(frozen=True)
class _Own:
    """A stage of the user's own, held to what it says of itself."""

    name: str
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    stage: Any
    reference: str

    async def __call__(self, row: Row, ask: Ask) -> Row:
        where = f"row {row.position + 1} (input: {' '.join(row.input.split())[:120]!r})"
        try:
            made = await self.stage(row, ask)
        except SynthError:
            raise
        except Exception as error:
            raise SynthError(
                f"The stage {self.reference} failed at {where}: {raised(error)}.",
                "Correct the stage, or leave it out of `stages` in task.yml. What was made so far "
                "is kept.",
            ) from error
        if not isinstance(made, Row):
            raise SynthError(
                f"The stage {self.reference} returned {type(made).__name__} at {where}.",
                "It returns the row: `return dataclasses.replace(row, ...)`.",
            )
        for field in dataclasses.fields(Row):
            name = field.name
            if name not in self.makes and getattr(made, name) != getattr(row, name):
                raise SynthError(
                    f"The stage {self.reference} changed `{name}` at {where}, which it does not "
                    "say it makes.",
                    f"Add {name!r} to its `makes`." if name in MADE else "It can't be changed.",
                )
            if name in self.makes and name in COLUMNS and not getattr(made, name):
                raise SynthError(
                    f"The stage {self.reference} left `{name}` empty at {where}.",
                    "Fill it in, or raise synth.errors.RowError(reason) to reject the row.",
                )
        return made
