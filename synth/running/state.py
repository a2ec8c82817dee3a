"""What the rows of one run share."""

from __future__ import annotations

import logging
from collections.abc import Callable

from synth.engines.base import Answer, Request
from synth.errors import RequestError, SynthError
from synth.progress.progress import Tally
from synth.quality.calls import calls_apart
from synth.quality.filters import THINKING_CURE
from synth.quality.thoughts import OFF_CURE, THINKS, own_texts, thoughts_apart
from synth.running.budget import Budget
from synth.running.limits import InOrder, check_failures, few_reasons, no_rows
from synth.running.models import Models
from synth.stages.plan import Plan, plan_of
from synth.stages.stage import Ask
from synth.store.cached import cached
from synth.store.rows import Rejection, Row
from synth.store.store import Generate, Store
from synth.task.taskfile import Task

# What is said once of a model that thinks.
KEEPS = (
    "The target thinks before it answers. Its thoughts are a part of its answers and are trained, "
    "since the task says `thinking: keep`; `thinking: off` asks it not to think."
)
UNSEEN = (
    "The target's server counts thoughts that it does not show. What nobody shows can't be "
    "trained: the adapter learns the answers without them. Set `thinking: off`, or ask a server "
    "that shows them."
)
GENERATOR = (
    "The generator thinks before it answers. Its thoughts are counted and go into no row; they "
    f"take time and tokens. {THINKING_CURE}"
)
WITHOUT_TOKENS = (
    "%d stored answers of the target have no tokens, though its tokenizer is known now: their "
    "texts are tokenized when they are trained. A new folder (-o) keeps its answers' tokens, where "
    "the server tells them."
)
log = logging.getLogger("synth")


class RunState:
    """What all rows of a run share: models, store, counts, and what ends the run early."""

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
        self._told = False
        self._said: set[str] = set()
        self._without_tokens = 0

    def begin(self) -> None:
        """Make room for this run's rows, before the first thing that comes of it."""
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin()
            self.store.start_run()

    def ask(self, stage: str) -> Ask:
        """What a stage is given to work with."""
        return Ask(self._asking("target", stage), self.generator(stage), self.task, self.seed)

    def generator(self, stage: str) -> Generate:
        """The generator, asked on behalf of a stage."""
        return self._asking("generator", stage)

    def _asking(self, role: str, stage: str) -> Generate:
        engine = self._models.target if role == "target" else self._models.generator

        def note_answer(stage: str, answer: Answer, asked: bool) -> None:
            self.begin()
            self.tally.record(stage, answer, asked, role)
            if role == "target" and not asked:
                self._without_tokens += not (answer.token_ids and answer.tokenizer)

        ask = engine.generate if self._budget is None else self._budget.limited(engine, role)
        whole = cached(engine, self.store, stage, note_answer, ask)
        own = own_texts(self.task, role)

        async def without_thoughts(request: Request) -> Answer:
            answer = thoughts_apart(await whole(request), own)
            if answer.reasoning is not None:
                self._note_thoughts(stage, role, answer)
            return calls_apart(answer, request)

        return self.tally.watched(stage, without_thoughts)

    def _note_thoughts(self, stage: str, role: str, answer: Answer) -> None:
        """Count an answer that came with thoughts; the first one of each kind is said."""
        if role == "generator":
            words = GENERATOR
        elif self.task.config.thinking == "off":
            words = f"The target {THINKS}: such answers are rejected. {OFF_CURE}"
        else:
            words = KEEPS if answer.reasoning or answer.token_ids else UNSEEN
        if words not in self._said:
            self._said.add(words)
            log.warning(words)
        self.tally.stages[stage].by_role[role].thoughts += 1

    def note_tokens(self) -> None:
        """Say how many answers were stored without tokens, which a known tokenizer now keeps."""
        if self._models.tokens and self._without_tokens:
            log.warning(WITHOUT_TOKENS, self._without_tokens)

    def reject(self, rejection: Rejection) -> None:
        """Store and count what is left out."""
        self.begin()
        self.store.add_rejection(rejection)
        self.tally.stages[rejection.stage].rejected[rejection.reason] += 1

    def keep(self, row: Row) -> None:
        """Store and count a finished row, and what it lost on its way.

        It may be the first thing that comes of the run: a row out of a log, whose answers are
        kept, needs no answer.
        """
        self.begin()
        self.store.add_row(row)
        self.tally.ends[row.conversation_end] += 1
        if row.lost is None:
            self.tally.reasons += bool(row.reason)
            return
        self.tally.lost[row.lost.reason] += 1
        if not self._told and (words := few_reasons(self.tally)):
            self._told = True
            log.warning(words)

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
        """The error of a run through which (almost) no row comes."""
        return no_rows(self.tally, self.store, self._last_failure)
