"""What a run tells while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from synth.engines.base import Answer

STAGES = ("inputs", "outputs", "reasons", "conversations")
LINE_EVERY = 10.0
log = logging.getLogger("synth")


@dataclass
class StageTally:
    """What one stage did so far. Tokens are those asked for in this run."""

    done: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    asked: int = 0
    found: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass
class Tally:
    """The counts of a run. `total` is the wanted number of rows."""

    total: int
    stages: dict[str, StageTally] = field(
        default_factory=lambda: {stage: StageTally() for stage in STAGES}
    )
    ends: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def heard(self, stage: str, answer: Answer, asked: bool) -> None:
        """Count an answer; one from the store costs no tokens."""
        tally = self.stages[stage]
        if not asked:
            tally.found += 1
            return
        tally.asked += 1
        tally.tokens_in += answer.prompt_tokens
        tally.tokens_out += answer.completion_tokens

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Generated tokens per second since the start, all stages together."""
        return sum(tally.tokens_out for tally in self.stages.values()) / max(self.seconds, 1e-3)

    @property
    def eta(self) -> float | None:
        """Seconds to go at the pace so far; None while there is no pace."""
        ended = sum(tally.done for tally in self.stages.values())
        ended += sum(
            tally.rejected.total() * (len(STAGES) - STAGES.index(stage))
            for stage, tally in self.stages.items()
            if stage != "inputs"
        )
        share = ended / (self.total * len(STAGES))
        return self.seconds * (1 - share) / share if share > 0 else None

    def line(self) -> str:
        """The state in one line."""
        parts = [
            f"{stage} {tally.done}/{self.total}"
            + (f" ({tally.rejected.total()} rejected)" if tally.rejected else "")
            + (f" ({tally.failed} failed)" if tally.failed else "")
            for stage, tally in self.stages.items()
        ]
        return f"{', '.join(parts)}; {self.rate:.0f} tokens/s; {self._time()}"

    def table(self) -> Table:
        """The state as a table."""
        table = Table(caption=f"{self.rate:.0f} tokens/s, {self._time()}", caption_justify="left")
        table.add_column("stage", no_wrap=True)
        for title in ("done", "rejected", "failed", "asked", "found", "tokens in", "tokens out"):
            table.add_column(title, justify="right", no_wrap=True)
        for stage, tally in self.stages.items():
            table.add_row(
                stage,
                f"{tally.done}/{self.total}",
                str(tally.rejected.total()),
                str(tally.failed),
                f"{tally.asked:,}",
                f"{tally.found:,}",
                f"{tally.tokens_in:,}",
                f"{tally.tokens_out:,}",
            )
        return table

    def _time(self) -> str:
        left = "" if self.eta is None else f", about {duration(self.eta)} to go"
        return f"{duration(self.seconds)} so far{left}"


def duration(seconds: float) -> str:
    """Seconds as a person says it: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextlib.asynccontextmanager
async def shown(tally: Tally, console: Console) -> AsyncIterator[None]:
    """Show `tally` on `console` while the body runs."""
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
