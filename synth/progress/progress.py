"""What a run tells while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from synth.durations import duration
from synth.engines.base import Answer, Request
from synth.progress.estimate import Pace, StageWork, tokens_to_go
from synth.progress.prices import Prices
from synth.store.rows import STAGES
from synth.store.store import Generate

ROLES = ("target", "generator")
LINE_EVERY = 10.0
log = logging.getLogger("synth")


@dataclass
class Tokens:
    """Answers of one model in one stage, and their tokens.

    `answers`, `tokens_in` and `tokens_out` count every answer that was used, `asked` and
    `asked_*` those that this run asked for; the others were in the store. Of `uncounted` answers
    the server did not tell the tokens: they are missing in all sums. `thoughts` counts those that
    came with thoughts.
    """

    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    asked: int = 0
    asked_in: int = 0
    asked_out: int = 0
    uncounted: int = 0
    thoughts: int = 0

    def add(self, answer: Answer, asked: bool) -> None:
        read, written = answer.usage.prompt_tokens, answer.usage.completion_tokens
        self.answers += 1
        self.uncounted += read is None or written is None
        self.tokens_in += read or 0
        self.tokens_out += written or 0
        if asked:
            self.asked += 1
            self.asked_in += read or 0
            self.asked_out += written or 0


@dataclass
class StageTally:
    """What one stage did so far: rows done, rejected and failed; requests in flight; tokens.

    `skipped` of the rows done went past it, since they are to have no reason.
    """

    done: int = 0
    skipped: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    in_flight: int = 0
    by_role: dict[str, Tokens] = field(default_factory=lambda: {role: Tokens() for role in ROLES})

    def skip(self) -> None:
        """Count a row that goes past the stage."""
        self.done += 1
        self.skipped += 1

    @property
    def total(self) -> Tokens:
        """Both models together."""
        sums = Tokens()
        for tokens in self.by_role.values():
            for name, value in vars(tokens).items():
                setattr(sums, name, getattr(sums, name) + value)
        return sums


@dataclass
class Tally:
    """The counts of a run.

    `total` is the wanted number of rows. `waiting` says which servers are waited for. Of the
    finished rows `reasons` have a reason, and `lost` says why others have none that should.
    """

    total: int
    prices: Prices = field(default_factory=Prices)
    stages: dict[str, StageTally] = field(
        default_factory=lambda: {stage: StageTally() for stage in STAGES}
    )
    ends: Counter[str] = field(default_factory=Counter)
    reasons: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    models: dict[str, dict[str, str]] = field(default_factory=dict)  # role -> engine's identity
    waiting: Callable[[], list[str]] = list
    clock: Callable[[], float] = time.monotonic
    # For each stage, those that a row is through before it; of the shipped stages unless told.
    waits: Mapping[str, Collection[str]] = field(
        default_factory=lambda: {
            stage: STAGES[: min(place, 2)] for place, stage in enumerate(STAGES)
        }
    )
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()
        self._pace = Pace(self.started)

    def follow(self, names: Sequence[str], waits: Mapping[str, Collection[str]]) -> None:
        """Count for these stages, in this order.

        Args:
            names: the task's stages, that of the inputs first.
            waits: for each, those that a row is through before it.
        """
        self.stages = {name: self.stages.get(name) or StageTally() for name in names}
        self.waits = waits

    @property
    def rows(self) -> int:
        """Rows that are finished: through the last stage, and all others."""
        return list(self.stages.values())[-1].done

    def record(self, stage: str, answer: Answer, asked: bool, role: str = "target") -> None:
        """Count an answer; one from the store costs nothing."""
        self.stages[stage].by_role[role].add(answer, asked)
        if asked:
            self._pace.add(self.clock(), answer.usage.completion_tokens or 0)

    def watched(self, stage: str, generate: Generate) -> Generate:
        """`generate`, with its requests counted as in flight."""
        tally = self.stages[stage]

        async def counted(request: Request) -> Answer:
            tally.in_flight += 1
            try:
                return await generate(request)
            finally:
                tally.in_flight -= 1

        return counted

    @property
    def uncounted(self) -> int:
        """Answers whose tokens the server did not tell: sums and money are too low by them."""
        return sum(tally.total.uncounted for tally in self.stages.values())

    @property
    def thoughts(self) -> dict[str, tuple[int, int]]:
        """By model, its answers that came with thoughts, and all; without one that never thinks."""
        used = {role: [one.by_role[role] for one in self.stages.values()] for role in ROLES}
        return {
            role: (thought, sum(tokens.answers for tokens in counts))
            for role, counts in used.items()
            if (thought := sum(tokens.thoughts for tokens in counts))
        }

    @property
    def failed(self) -> dict[str, int]:
        """Rows that were not answered, by stage."""
        return {stage: counts.failed for stage, counts in self.stages.items()}

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.clock() - self.started

    @property
    def rate(self) -> float:
        """Generated tokens per second since the start, all stages together."""
        written = sum(tally.total.asked_out for tally in self.stages.values())
        return written / max(self.seconds, 1e-3)

    @property
    def money(self) -> float | None:
        """What this run's answers cost so far; None without prices."""
        return self.prices.of(
            {
                role: (
                    sum(tally.by_role[role].asked_in for tally in self.stages.values()),
                    sum(tally.by_role[role].asked_out for tally in self.stages.values()),
                )
                for role in ROLES
            }
        )

    @property
    def eta(self) -> float | None:
        """Seconds to go at the pace of the last while; None as long as a stage is unknown."""
        work = [
            StageWork(
                tally.done,
                tally.rejected.total() + tally.failed,
                tally.total.tokens_out,
                tally.skipped,
            )
            for tally in self.stages.values()
        ]
        names = list(self.stages)
        waits = [[names.index(other) for other in self.waits[name]] for name in names]
        left, pace = tokens_to_go(self.total, work, waits), self._pace.rate(self.clock())
        return None if left is None or not pace else left / pace

    def log_state(self) -> None:
        """Log the state of a run that ends before its time: each stage, and why rows were lost."""
        log.info("so far: %s", self.line())
        for stage, tally in self.stages.items():
            if tally.rejected:
                reasons = ", ".join(
                    f"{count} x {why}" for why, count in tally.rejected.most_common()
                )
                log.info("  rejected in %s: %s", stage, reasons)
        if self.lost:
            reasons = ", ".join(f"{count} x {why}" for why, count in self.lost.most_common())
            log.info("  rows kept without the reason that they should have: %s", reasons)

    def line(self) -> str:
        """The state in one line."""
        parts = [
            f"{stage} {tally.done}/{self.total}"
            + (f" ({tally.skipped} not asked)" if tally.skipped else "")
            + (f" ({tally.rejected.total()} rejected)" if tally.rejected else "")
            + (f" ({tally.failed} failed)" if tally.failed else "")
            + (f" ({tally.in_flight} in flight)" if tally.in_flight else "")
            for stage, tally in self.stages.items()
        ]
        asked = [tally.total for tally in self.stages.values()]
        tokens = (
            f"{sum(one.asked_in for one in asked):,} tokens in, "
            f"{sum(one.asked_out for one in asked):,} out"
        )
        return f"{', '.join(parts)}; {tokens}, {self._below()}"

    def table(self) -> Table:
        """The state as a table."""
        table = Table(
            caption=self._below(), caption_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0)
        )
        table.add_column("stage", no_wrap=True)
        for title in ("done", "in flight", "rejected", "failed", "tokens in", "tokens out"):
            table.add_column(title, justify="right", no_wrap=True)
        for stage, tally in self.stages.items():
            tokens = tally.total
            table.add_row(
                stage,
                f"{tally.done}/{self.total}",
                str(tally.in_flight),
                str(tally.rejected.total()),
                str(tally.failed),
                f"{tokens.asked_in:,}",
                f"{tokens.asked_out:,}",
            )
        return table

    def _below(self) -> str:
        parts = [f"{self.rate:.0f} tokens/s"]
        found = sum(tally.total.answers - tally.total.asked for tally in self.stages.values())
        if found:
            parts.append(f"{found:,} answers from the store")
        if self.money is not None:
            parts.append(f"{self.money:.2f} spent")
        if self.lost:
            parts.append(f"{self.lost.total():,} reasons lost, their rows kept")
        if self.uncounted:
            parts.append(f"without {self.uncounted:,} answers whose tokens were not counted")
        left = f", about {duration(self.eta)} to go" if self.eta else ""
        state = ", ".join([*parts, f"{duration(self.seconds)} so far{left}"])
        return "; ".join([state, *self.waiting()])


@contextlib.asynccontextmanager
async def live_view(tally: Tally, console: Console) -> AsyncIterator[None]:
    """A live view of `tally` on `console` while the body runs."""
    if console.is_terminal:
        with Live(console=console, get_renderable=tally.table, refresh_per_second=4):
            yield
        return
    lines = asyncio.ensure_future(_lines(tally))
    try:
        yield
    finally:
        lines.cancel()


async def _lines(tally: Tally) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        log.info(tally.line())
