"""Several places that answer the same: work goes to the least loaded one that is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from synth.errors import EngineError

Place = TypeVar("Place")
FIRST_PAUSE = 0.5  # seconds; the next one is twice as long, and so on
LONGEST_PAUSE = 30.0
SAID_AGAIN = 30.0  # seconds before the same place's trouble is logged again
log = logging.getLogger("synth")


def pause(times: int) -> float:
    """Seconds to wait after something failed `times` times in a row (1, 2 ...)."""
    return min(FIRST_PAUSE * 2 ** (times - 1), LONGEST_PAUSE)


@dataclass(eq=False)
class Endpoint(Generic[Place]):
    """A place that answers: a server's client, a worker. `strikes` counts its pauses since it
    last answered, `due` is when it may be asked again."""

    name: str
    place: Place
    under_way: int = 0
    strikes: int = 0
    due: float = 0.0
    paused: float = -1.0
    trouble: str = ""
    said: float = field(default=-SAID_AGAIN)

    def free(self, now: float) -> bool:
        """Whether it may be asked now; one that failed twice in a row is tried by one request."""
        return now >= self.due and (self.strikes < 2 or not self.under_way)


class Endpoints(Generic[Place]):
    """The places, and which of them are left out for a while.

    Args:
        places: name and place of each, at least one.
        max_strikes: a place is gone when it was left out more often than this, each time twice
            as long, and did not answer between.
        called: what they are, for the user.
    """

    def __init__(
        self, places: Iterable[tuple[str, Place]], max_strikes: int, called: str = "servers"
    ) -> None:
        self.all = [Endpoint(name, place) for name, place in places]
        self.max_strikes = max_strikes
        self.called = called
        self.answers = 0
        self._gone: EngineError | None = None
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def least_loaded(
        self, failed: Endpoint[Place] | None = None
    ) -> AsyncIterator[Endpoint[Place]]:
        """The place to ask next; waits until one may be asked.

        Args:
            failed: the one that has just failed with this request: any other comes before it.

        Raises:
            EngineError: all places are gone.
        """
        endpoint = await self._free(failed)
        endpoint.under_way += 1
        try:
            yield endpoint
        finally:
            endpoint.under_way -= 1
            self._wake()

    def answered(self, endpoint: Endpoint[Place], asked: float) -> None:
        """Note that it answered a request that was sent at `asked` (monotonic).

        An answer that was on its way when a pause began does not end the pause.
        """
        if endpoint.strikes >= 2:
            log.info("%s answers again.", endpoint.name)
            endpoint.said = -SAID_AGAIN
        self.answers += 1
        endpoint.strikes, endpoint.trouble = 0, ""
        if asked > endpoint.paused:
            endpoint.due = 0.0

    def leave_out(
        self, endpoint: Endpoint[Place], asked: float, why: EngineError, seconds: float | None
    ) -> None:
        """Ask it nothing for a while.

        Args:
            endpoint: what can't answer.
            asked: when (monotonic) the request that tells was sent; one that was under way
                when the pause began tells nothing new.
            why: shown to the user.
            seconds: how long it wants to be left alone; at least twice as long as the last time.

        Raises:
            EngineError: all places are gone.
        """
        if asked > endpoint.paused:
            endpoint.strikes += 1
            # Zero, or a date that a server's wrong clock has put into the past, is no pause.
            wait = max(pause(endpoint.strikes), seconds or 0.0)
            endpoint.paused = time.monotonic()
            endpoint.due = endpoint.paused + wait
            endpoint.trouble = why.cause
            self.warn(endpoint, f"{why.cause} It is asked again in {wait:.1f} s.")
        self.check(why, self.max_strikes)

    def check(self, why: EngineError, strikes: int) -> None:
        """Raise an `EngineError` when all places were left out more than `strikes` times.

        From then on, and for those that wait for a place, they are gone.
        """
        if any(one.strikes <= strikes for one in self.all):
            return
        troubles = "".join(f"\n  {one.trouble}" for one in self.all)
        self._gone = EngineError(
            why.cause if len(self.all) == 1
            else f"None of the {len(self.all)} {self.called} answers:{troubles}", why.cure
        )  # fmt: skip
        self._wake()
        raise self._gone

    def warn(self, endpoint: Endpoint[Place], words: str) -> None:
        """Log a place's trouble, now and then."""
        now = time.monotonic()
        if now - endpoint.said >= SAID_AGAIN:
            endpoint.said = now
            log.warning(words)

    async def _free(self, failed: Endpoint[Place] | None) -> Endpoint[Place]:
        while True:
            if self._gone is not None:
                raise self._gone
            now = time.monotonic()
            free = [endpoint for endpoint in self.all if endpoint.free(now)]
            if free:
                return min(free, key=lambda one: (one is failed, one.under_way, one.strikes))
            next_due = min((one.due for one in self.all if one.due > now), default=None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if next_due is None else next_due - now):
                    await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
