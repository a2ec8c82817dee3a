"""Awaitables side by side; all are awaited to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from synth.errors import RequestError, RowError

Result = TypeVar("Result")


async def gather_all(*awaitables: Awaitable[Result]) -> list[Result]:
    """Await several things side by side; none is left running when another fails.

    Raises:
        Exception: what one of them raised; what stops the run before what leaves a row pending,
            that before what rejects it, and an earlier one's before a later one's, so that the same
            reason is counted in every run.
    """
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    errors.sort(key=_mildness)
    if errors:
        raise errors[0]
    return [result for result in results if not isinstance(result, BaseException)]


def _mildness(error: BaseException) -> int:
    if isinstance(error, RowError):
        return 2
    return 1 if isinstance(error, RequestError) else 0
