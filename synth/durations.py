"""Durations as people and servers write them: `90`, `30m`, `1m30.5s`, `2 h 05 min`. Pure."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A number and its unit: `6s`, `1.5 minutes`, `20ms`.
PART = (
    r"(\d+(?:\.\d+)?)\s*"
    r"(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d)(?![a-z])"
)
_PART = re.compile(PART, re.IGNORECASE)


def seconds_of(text: str) -> float | None:
    """The seconds that `text` says: a number of them, or numbers with units; None for any other."""
    text = text.strip()
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    found = list(_PART.finditer(text))
    if not found or re.sub(r"[\s,]|and", "", _PART.sub("", text)):
        return None
    return sum(_seconds(part[1], part[2]) for part in found)


def _seconds(number: str, unit: str) -> float:
    short = "ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower()
    return float(number) * UNITS[short]


def duration(seconds: float) -> str:
    """Seconds as a person says it: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
