"""How long a server wants to be left alone, in its headers or in its words."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from synth.durations import PART, seconds_of

# "Please try again in 1m30s.", "Retry after 6 seconds", "please retry in 500ms".
AGAIN_IN = re.compile(
    rf"(?:try again|retry|again) (?:in|after) ((?:{PART}[\s,]*(?:and )?)+)", re.IGNORECASE
)
EPOCH = 1e9  # a number larger than this is a date: seconds since 1970, or milliseconds


def wanted_wait(headers: Mapping[str, str], words: str = "") -> float | None:
    """The seconds a server wants to be left alone; None if it does not say.

    Args:
        headers: the reply's, with names in lower case or a mapping that ignores case.
        words: its message.

    The first that says something counts: `retry-after-ms`; `retry-after`; "try again in 6s" in
    the words; `x-ratelimit-reset-*` of what is used up.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return max(milliseconds / 1000, 0.0)
    for found in (retry_after(headers), _in_words(words), _reset(headers)):
        if found is not None:
            return found
    return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that `retry-after` asks for: a number, a duration (`6s`), or a date.

    A date may be in any form of RFC 9110 (asctime and RFC 850, too) or ISO 8601, with any zone;
    without one it is UTC. It is read by the server's clock where the reply has a `date`.
    """
    text = headers.get("retry-after", "").strip()
    number = _number(text)
    if number is not None:
        return max(number, 0.0)
    found = seconds_of(text)
    if found is not None:
        return found
    until = _date(text)
    if until is None:
        return None
    now = _date(headers.get("date", ""))
    return max(until - (time.time() if now is None else now), 0.0)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _date(text: str) -> float | None:
    """Seconds since 1970."""
    for read in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = read(text)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (TypeError, ValueError, OverflowError):
            continue
    return None


def _in_words(words: str) -> float | None:
    found = AGAIN_IN.search(words)
    return seconds_of(found[1]) if found else None


def _reset(headers: Mapping[str, str]) -> float | None:
    """When the quota that is used up begins anew; of several, the last."""
    waits = []
    for kind in ("", "-requests", "-tokens"):
        text = headers.get(f"x-ratelimit-reset{kind}", "")
        if _number(headers.get(f"x-ratelimit-remaining{kind}", "")) == 0 and text:
            number = _number(text)
            if number is not None and number > EPOCH:
                number = (number / 1000 if number > EPOCH * 1000 else number) - time.time()
            waits.append(seconds_of(text) if number is None else number)
    return max((max(wait, 0.0) for wait in waits if wait is not None), default=None)
