"""Numbered requests that are made ahead and whose answers are taken in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")

# So many times as many as wait for their own answers may wait for an earlier one's.
AHEAD = 8


class Ahead(Generic[Result]):
    """Makes requests up to a goal, `window` at once, and gives their answers in order.

    Only those that are not answered take a place of the window: what is answered and comes behind
    one that is not does not keep others from being made.

    Args:
        make: the number of a request -> its answer. What it raises stops everything, whichever
            request it is.
        window: requests that wait for their answers at once.
    """

    def __init__(self, make: Callable[[int], Awaitable[Result]], window: int) -> None:
        self._make = make
        self._window = window
        self._goal = 0
        self._first = 0  # the number of the one that is taken next
        self._made: deque[asyncio.Future[Result]] = deque()  # from there on
        self._unanswered: set[asyncio.Future[Result]] = set()
        self._answer_came = asyncio.Event()
        self._stopped: list[BaseException] = []

    def call_for(self, count: int) -> None:
        """Make at least `count` requests in all; what was called for once is made."""
        self._goal = max(self._goal, count)

    async def next(self) -> Result | None:
        """The answer of the next request; None if the goal is reached."""
        if self._first >= self._goal:
            return None
        self._go_on(self._window * AHEAD)
        while not (self._made and self._made[0].done()):
            await self._answer(self._window * AHEAD)
        self._first += 1
        return self._made.popleft().result()

    async def finish(self) -> None:
        """Make what is left up to the goal, and wait until everything is answered."""
        while self._unanswered or self._first + len(self._made) < self._goal:
            await self._answer(self._goal)

    async def drain(self) -> None:
        """Wait for the answers that are under way, whatever they are, and make nothing more."""
        await asyncio.gather(*self._made, return_exceptions=True)

    async def cancel(self) -> None:
        """Cancel what is under way."""
        for future in self._made:
            future.cancel()
        # Their errors are those that stopped the run; not retrieved, asyncio would print each.
        await asyncio.gather(*self._made, return_exceptions=True)

    async def _answer(self, ahead: int) -> None:
        """Wait for an answer, whichever it is."""
        self._answer_came.clear()
        self._go_on(ahead)
        await self._answer_came.wait()
        if self._stopped:
            raise self._stopped[0]

    def _go_on(self, ahead: int) -> None:
        while len(self._unanswered) < self._window and len(self._made) < ahead:
            number = self._first + len(self._made)
            if number >= self._goal:
                break
            future = asyncio.ensure_future(self._make(number))
            future.add_done_callback(self._note)
            self._unanswered.add(future)
            self._made.append(future)

    def _note(self, future: asyncio.Future[Result]) -> None:
        self._unanswered.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            self._stopped.append(error)
        self._answer_came.set()
