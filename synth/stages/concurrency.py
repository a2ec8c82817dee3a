"""Two awaitables side by side; both are awaited to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, cast

from synth.errors import RequestError, RowError

First = TypeVar("First")
Second = TypeVar("Second")


async def gather_two(first: Awaitable[First], second: Awaitable[Second]) -> tuple[First, Second]:
    """Await two things side by side; neither is left running when the other fails.

    Raises:
        Exception: what one of them raised; what stops the run before what leaves a row pending,
            that before what rejects it, and the first's before the second's, so that the same
            reason is counted in every run.
    """
    results = await asyncio.gather(first, second, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    errors.sort(key=_mildness)
    if errors:
        raise errors[0]
    return cast(tuple[First, Second], tuple(results))


def _mildness(error: BaseException) -> int:
    if isinstance(error, RowError):
        return 2
    return 1 if isinstance(error, RequestError) else 0
