"""All rows through all stages, side by side."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace

from synth.engines.base import Answer, Engine
from synth.errors import LimitReached, RequestError, RowError, SynthError
from synth.progress.progress import Tally
from synth.quality.chosen import INPUTS
from synth.quality.role_markers import check_given
from synth.running.budget import Budget
from synth.running.limits import FAILURE_RATE, InOrder, check_failures, no_rows
from synth.stages.concurrency import gather_all
from synth.stages.inputs import inputs, new_row
from synth.stages.plan import Plan, plan_of
from synth.stages.stage import Ask, Stage
from synth.store.rows import Rejection, Row
from synth.store.store import Generate, Store, cached
from synth.task.inputs.lines import GivenInputs
from synth.task.taskfile import Task

# Rows under way at once: enough to fill any batch, few enough to hold in memory.
IN_FLIGHT = 256
# And as many for each request that the models can work on: a row that waits for one answer leaves
# its place to others.
ROWS_A_PLACE = 4
# What is shown of a rejected row.
TEXTS = ("floor_output", "teacher_output", "reason")
log = logging.getLogger("synth")


@dataclass(frozen=True)
class Models:
    """Who answers. Floor and teacher are the target; the generator does the rest."""

    target: Engine
    generator: Engine

    @property
    def rows_in_flight(self) -> int:
        """How many rows keep both models busy."""
        places = max(self.target.capacity, self.generator.capacity)
        return max(IN_FLIGHT, ROWS_A_PLACE * places)

    def waiting(self) -> list[str]:
        """What is waited for, for the user; nothing while both answer."""
        engines = dict.fromkeys([self.target, self.generator])
        return [words for engine in engines if (words := engine.waiting) is not None]


class _Run:
    """One run's shared things, so that the functions below stay short."""

    def __init__(
        self,
        task: Task,
        models: Models,
        store: Store,
        tally: Tally,
        seed: int,
        max_failure_rate: float,
        begin: Callable[[], None],
        in_flight: int,
        input_timeout: float | None,
        budget: Budget | None,
    ) -> None:
        self.task = task
        self.plan: Plan = plan_of(task)
        self.store = store
        self.tally = tally
        self.seed = seed
        self.in_flight = in_flight
        self.input_timeout = input_timeout
        self._models = models
        self._max_failure_rate = max_failure_rate
        self._last_failure: RequestError | None = None
        self._in_order = InOrder()
        self._budget = budget
        self._begin: Callable[[], None] | None = begin

    def begin(self) -> None:
        """Make room for this run's rows, before the first thing that comes of it."""
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin()
            self.store.start_run()

    def ask(self, stage: str) -> Ask:
        return Ask(self._asking("target", stage), self.generator(stage), self.task, self.seed)

    def generator(self, stage: str) -> Generate:
        return self._asking("generator", stage)

    def _asking(self, role: str, stage: str) -> Generate:
        engine = self._models.target if role == "target" else self._models.generator

        def note_answer(stage: str, answer: Answer, asked: bool) -> None:
            self.begin()
            self.tally.record(stage, answer, asked, role)

        ask = engine.generate if self._budget is None else self._budget.limited(engine, role)
        return self.tally.watched(stage, cached(engine, self.store, stage, note_answer, ask))

    def reject(self, rejection: Rejection) -> None:
        self.begin()
        self.store.add_rejection(rejection)
        self.tally.stages[rejection.stage].rejected[rejection.reason] += 1

    def fail(self, what: str, stage: str, error: RequestError) -> None:
        """Count what was not answered; it waits for the next run.

        Raises:
            EngineError: too large a share failed.
        """
        counts = self.tally.stages[stage]
        counts.failed += 1
        self._last_failure = error
        log.warning("%s failed in %s and stays pending: %s", what, stage, error.cause)
        check_failures(stage, counts, self._max_failure_rate, error)

    def ended(self, row: Row, passed: bool | None) -> None:
        """Note what became of a row; None: it is pending.

        Raises:
            SynthError: (almost) no row comes through.
        """
        self._in_order.add(row.position, passed)
        if not self._in_order.alive:
            raise self.no_rows()

    def no_rows(self) -> SynthError:
        return no_rows(self.tally, self.store, self._last_failure)


async def synthesize(
    task: Task,
    models: Models,
    store: Store,
    tally: Tally,
    seed: int = 0,
    given: GivenInputs | None = None,
    max_failure_rate: float = FAILURE_RATE,
    in_flight: int | None = None,
    begin: Callable[[], None] = lambda: None,
    input_timeout: float | None = None,
    budget: Budget | None = None,
) -> None:
    """Make the dataset's rows in `store`.

    Each row goes through its stages as soon as it can, whatever the others do. Every answer is
    in the store before it is used, so a run that was stopped goes on where it was; finished
    rows are made again from the stored answers.

    Args:
        task: what to make.
        models: who answers.
        store: holds answers, and afterwards rows and rejections.
        tally: counts; shown elsewhere.
        seed: of everything that is drawn.
        given: inputs in place of generated ones.
        max_failure_rate: share of a stage's rows that may fail (looked at after 20 rows). A row
            fails when a request of it is not answered; it is neither made nor rejected, and the
            next run asks again.
        in_flight: rows under way at once, and tries for an input; None: as many as keep the
            models busy.
        begin: called before the first thing that comes of the run, an answer for one; until then
            the store holds what it held.
        input_timeout: seconds a server has for a try for an input; None: see `inputs`.
        budget: what may be asked for. Once it is used up, what is under way ends, and rows that
            need more are left pending.

    Raises:
        LimitReached: the budget is used up.
        SynthError: no request can be answered, there are too few inputs, too many rows fail,
            (almost) no row comes through, or a filter or stage of the user's own is at fault.
    """
    in_flight = in_flight or models.rows_in_flight
    run = _Run(
        task, models, store, tally, seed, max_failure_rate, begin, in_flight, input_timeout, budget
    )
    tally.waiting = models.waiting
    tally.follow(run.plan.names, run.plan.waits)
    if given is not None:
        check_given(given, task)
    slots = asyncio.Semaphore(in_flight)

    async def finish(row: Row, line: int | None) -> None:
        try:
            await _make_row(run, row, line)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as group, contextlib.aclosing(_texts(run, given)) as texts:
            position = 0
            with contextlib.suppress(LimitReached):  # rows under way go on until they ask again
                async for text in texts:
                    await slots.acquire()
                    line = None if given is None else given.line_numbers[position]
                    group.create_task(finish(new_row(task, position, text), line))
                    position += 1
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    if budget is not None and budget.refused:
        raise budget.reached(tally)
    if not tally.rows:
        raise run.no_rows()


async def _texts(run: _Run, given: GivenInputs | None) -> AsyncGenerator[str, None]:
    stage = run.tally.stages[INPUTS]
    if given is not None:
        for text in given.texts:
            stage.done += 1
            yield text
        for duplicate in given.duplicates:
            run.reject(duplicate)
        return

    def fail(number: int, error: RequestError) -> None:
        run.fail(f"Try {number} for an input", INPUTS, error)

    made = inputs(
        run.task, run.generator(INPUTS), run.seed, run.reject, fail,
        run.in_flight, run.input_timeout, run.plan.filters,
    )  # fmt: skip
    async with contextlib.aclosing(made):
        async for text in made:
            stage.done += 1
            yield text


async def _make_row(run: _Run, row: Row, line: int | None) -> None:
    """Bring one row to the store: finished, rejected with its reason, or pending.

    Args:
        run: the run.
        row: holds its input.
        line: the input's line among the user's own; None for a generated one, which the filters
            have seen.
    """
    last = run.plan.names[-1]
    try:
        if line is not None:
            with _at(INPUTS):
                run.plan.filters.check_given(row)
        for wave in run.plan.waves:
            made = await gather_all(*(_through(run, stage, row) for stage in wave))
            # Each has filled in its own fields.
            for stage, one in zip(wave, made, strict=True):
                row = replace(row, **{name: getattr(one, name) for name in stage.makes})
        with _at(last):
            run.plan.filters.check(row, "")
    except LimitReached:
        run.ended(row, None)
        return
    except RequestError as error:
        run.fail(f"Row {row.position + 1}", error.stage, error)
        run.ended(row, None)
        return
    except RowError as error:
        place = line if error.stage == INPUTS and line is not None else row.position
        made_of_it = _made(row) | error.made
        run.reject(
            Rejection(error.stage, place, error.reason, error.detail, made_of_it, error.filter)
        )
        run.ended(row, False)
        return
    run.store.add_row(row)
    run.tally.ends[row.conversation_end] += 1
    run.tally.stages[last].done += 1
    run.ended(row, True)


async def _through(run: _Run, stage: Stage, row: Row) -> Row:
    """The row behind one stage and the filters that judge there."""
    with _at(stage.name):
        row = await stage(row, run.ask(stage.name))
        try:
            run.plan.filters.check(row, stage.name)
        except RowError as error:
            shown = [str(getattr(row, name)) for name in stage.makes if name in TEXTS]
            if not error.detail and shown:
                error.detail = f"It is: {shown[-1][:200]!r}"
            error.made = {name: getattr(row, name) for name in stage.makes if name in TEXTS}
            raise
    if stage.name != run.plan.names[-1]:  # the last is done when the row is
        run.tally.stages[stage.name].done += 1
    return row


@contextlib.contextmanager
def _at(stage: str) -> Iterator[None]:
    """Note the stage on an error that ends one row's way."""
    try:
        yield
    except (RowError, RequestError) as error:
        error.stage = stage
        raise


def _made(row: Row) -> dict[str, object]:
    """What there is of a rejected row, without the prompt."""
    made: dict[str, object] = {"id": row.id, "input": row.input}
    for name in TEXTS:
        if getattr(row, name):
            made[name] = getattr(row, name)
    return made


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The error to show of several: what stops a run comes before what follows from it."""
    leaves: list[BaseException] = []
    for error in errors.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    # A defect of ours must not hide behind a user's error.
    defects = [error for error in leaves if not isinstance(error, SynthError)]
    return (defects or leaves)[0]
