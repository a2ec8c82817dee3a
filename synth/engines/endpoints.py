"""Several places that answer the same: work goes to the least loaded one that is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from synth.durations import duration
from synth.engines.rate import Rate
from synth.errors import EngineError

Place = TypeVar("Place")
FIRST_PAUSE = 0.5  # seconds; the next one is twice as long, and so on
LONGEST_PAUSE = 30.0
WARN_EVERY = 30.0  # seconds before the same place's trouble is logged again
LOG_WAIT_EVERY = 60.0  # seconds between two lines that say what is waited for
SHOWN_AFTER = 2.0  # seconds of waiting that are worth showing
PATIENCE = 1800.0  # seconds, unless the user says otherwise
# So often a place is tried that has never replied: a wrong address is likelier than an outage.
EARLY_STRIKES = 2
log = logging.getLogger("synth")


def pause(times: int) -> float:
    """Seconds to wait after something failed `times` times in a row (1, 2 ...)."""
    return min(FIRST_PAUSE * 2 ** (times - 1), LONGEST_PAUSE)


@dataclass(eq=False)
class Endpoint(Generic[Place]):
    """A place that answers: a server's client, a worker.

    Times are monotonic seconds. `strikes` counts its pauses since it last answered, `since` is
    when the first of them began, `due` when it may be asked again. `given_up` is why it is no
    longer waited for; unless it is `unusable` it is asked all the same, as long as others answer.
    """

    name: str
    place: Place
    rate: Rate = field(default_factory=Rate)
    under_way: int = 0
    replied: bool = False
    strikes: int = 0
    since: float | None = None
    due: float = 0.0
    paused: float = -1.0
    trouble: str = ""
    given_up: EngineError | None = None
    unusable: bool = False
    warned: float = field(default=-WARN_EVERY)

    def ready(self, now: float, tokens: int) -> float | None:
        """From when on it may be sent a request of about so many tokens.

        One that failed twice in a row is tried by one request; None while that is under way.
        """
        if self.strikes >= 2 and self.under_way:
            return None
        return max(self.due, self.rate.ready(now, tokens))


class Endpoints(Generic[Place]):
    """The places, and which of them are left out: for a while, or for the rest of the run.

    Args:
        places: name and place of each, at least one.
        patience: seconds for which a place that has replied before is waited for.
        called: what they are, for the user.
        rate: makes what each may be asked in a minute.
    """

    def __init__(
        self,
        places: Iterable[tuple[str, Place]],
        patience: float = PATIENCE,
        called: str = "servers",
        rate: Callable[[], Rate] = Rate,
    ) -> None:
        self.all = [Endpoint(name, place, rate()) for name, place in places]
        self.patience = patience
        self.called = called
        self.answers = 0
        self._gone: EngineError | None = None
        self._changed = asyncio.Event()
        self._queue = asyncio.Lock()
        self._outage: float | None = None  # since when no place answers
        self._outages = 0.0  # seconds of earlier ones
        self._logged = 0.0

    @contextlib.asynccontextmanager
    async def least_loaded(
        self, failed: Endpoint[Place] | None = None, tokens: int = 0
    ) -> AsyncIterator[Endpoint[Place]]:
        """The place to ask next; waits until one may be asked, first come, first served.

        Args:
            failed: the one that has just failed with this request: any other comes before it.
            tokens: about what the request takes, for a cap on the tokens per minute.

        Raises:
            EngineError: all places are gone.
        """
        async with self._queue:
            endpoint = await self._free(failed, tokens)
            endpoint.under_way += 1
            endpoint.rate.spend(time.monotonic(), tokens)
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
            endpoint.warned = -WARN_EVERY
        self.answers += 1
        endpoint.replied = True
        endpoint.strikes, endpoint.since, endpoint.trouble = 0, None, ""
        if not endpoint.unusable:
            endpoint.given_up = None
        if asked > endpoint.paused:
            endpoint.due = 0.0
        self._note_outage()

    def leave_out(
        self,
        endpoint: Endpoint[Place],
        asked: float,
        why: EngineError,
        seconds: float | None,
        replied: bool = True,
    ) -> None:
        """Ask it nothing for a while.

        Args:
            endpoint: what can't answer.
            asked: when (monotonic) the request that tells was sent; one that was under way
                when the pause began tells nothing new.
            why: shown to the user.
            seconds: how long it wants to be left alone; at least twice as long as the last time.
            replied: whether somebody is there at all.

        Raises:
            EngineError: all places are gone.
        """
        endpoint.replied |= replied
        if asked <= endpoint.paused or endpoint.unusable:
            return
        now = time.monotonic()
        endpoint.strikes += 1
        if endpoint.since is None:
            endpoint.since = now
        left = endpoint.since + self.patience - now
        # Zero, or a date that a server's wrong clock has put into the past, is no pause.
        wait = max(pause(endpoint.strikes), seconds or 0.0)
        endpoint.given_up = self._given_up(endpoint, why, seconds or 0.0, left)
        if endpoint.given_up is None:
            wait = min(wait, left)  # the last try is at the very end
        endpoint.paused, endpoint.due = now, now + wait
        endpoint.trouble = why.cause
        self._note_outage()
        self._check()
        if now - endpoint.since < WARN_EVERY or not self._outage:
            self.warn(endpoint, f"{sentence(why.cause)} It is asked again in {wait:.1f} s.")

    def give_up(self, endpoint: Endpoint[Place], why: EngineError) -> None:
        """Leave it out for the rest of the run: it will not answer, however long one waits.

        Raises:
            EngineError: all places are gone.
        """
        first, endpoint.unusable, endpoint.given_up = not endpoint.unusable, True, why
        self._note_outage()
        self._check()
        if first:
            log.warning("%s It is left out for the rest of the run; the others go on. %s",
                        sentence(why.cause), why.cure)  # fmt: skip

    def outages(self) -> float:
        """Seconds so far in which no place answered and all were waited for."""
        current = 0.0 if self._outage is None else time.monotonic() - self._outage
        return self._outages + current

    def waiting(self) -> str | None:
        """What is waited for, since when and for how much longer; None while a place answers."""
        now = time.monotonic()
        if self._outage is None or self._gone or now - self._outage < SHOWN_AFTER:
            return None
        hoped_for = [one for one in self.all if one.given_up is None and one.since is not None]
        if not hoped_for:
            return None
        last = max(hoped_for, key=lambda one: one.since or 0.0)
        names = " and ".join(one.name for one in hoped_for)
        trouble = last.trouble.removeprefix(last.name).strip().rstrip(".")
        left = (last.since or now) + self.patience - now
        return (
            f"waiting for {names} since {duration(now - self._outage)} ({trouble}), "
            f"giving up in {duration(max(left, 0.0))}"
        )

    def warn(self, endpoint: Endpoint[Place], words: str) -> None:
        """Log a place's trouble, now and then."""
        now = time.monotonic()
        if now - endpoint.warned >= WARN_EVERY:
            endpoint.warned = now
            log.warning(words)

    def _given_up(
        self, endpoint: Endpoint[Place], why: EngineError, seconds: float, left: float
    ) -> EngineError | None:
        """Why the place is no longer waited for; None if it is."""
        if not endpoint.replied:
            return why if endpoint.strikes > EARLY_STRIKES else None
        longer = "To wait longer, raise --patience."
        if left <= 0:
            return EngineError(
                f"{sentence(why.cause)} It was waited for as long as --patience allows, "
                f"{duration(self.patience)}.",
                f"{why.cure} {longer}",
            )
        if seconds > left:
            return EngineError(
                f"{sentence(why.cause)} It wants to be asked again in {seconds:.0f} s; --patience "
                f"allows {left:.0f} s more.",
                f"{why.cure} {longer}",
            )
        return None

    def _note_outage(self) -> None:
        now = time.monotonic()
        if all(one.unusable or one.since is not None for one in self.all):
            if self._outage is None:
                self._outage = self._logged = now
        elif self._outage is not None:
            self._outages += now - self._outage
            self._outage = None

    def _check(self) -> None:
        """Raise an `EngineError` when all places are given up.

        From then on, and for those that wait for a place, they are gone.
        """
        reasons = [one.given_up for one in self.all if one.given_up is not None]
        if len(reasons) < len(self.all):
            return
        causes = "".join(f"\n  {reason.cause}" for reason in reasons)
        self._gone = reasons[0] if len(reasons) == 1 else EngineError(
            f"None of the {len(reasons)} {self.called} can be used:{causes}",
            " ".join(dict.fromkeys(reason.cure for reason in reasons)),
        )  # fmt: skip
        self._wake()
        raise self._gone

    async def _free(self, failed: Endpoint[Place] | None, tokens: int) -> Endpoint[Place]:
        while True:
            if self._gone is not None:
                raise self._gone
            now = time.monotonic()
            usable = [endpoint for endpoint in self.all if not endpoint.unusable]
            times = {one: at for one in usable if (at := one.ready(now, tokens)) is not None}
            free = [endpoint for endpoint, at in times.items() if at <= now]
            if free:
                return min(free, key=lambda one: (one is failed, one.under_way, one.strikes))
            self._log_wait(now)
            wake = min([*times.values(), now + LOG_WAIT_EVERY])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wake - now):
                    await self._changed.wait()

    def _log_wait(self, now: float) -> None:
        words = self.waiting()
        if words is not None and now - self._logged >= LOG_WAIT_EVERY:
            self._logged = now
            log.warning("%s.", words[0].upper() + words[1:])

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def sentence(text: str) -> str:
    """The text with a full stop, for another sentence to follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
