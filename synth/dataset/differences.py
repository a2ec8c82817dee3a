"""Where two configurations differ, as a person reads it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

SHOWN = 70  # characters of a value
AROUND = 25  # characters of a long text before the first difference
ELEMENTS = 4  # of a list that are shown one by one


def differences(old: dict[str, Any], new: dict[str, Any], ignored: tuple[str, ...]) -> list[str]:
    """Each key whose value differs, a line or more for each: `key: old -> new`.

    Args:
        old: nested settings, as read from YAML.
        new: others.
        ignored: beginnings of keys, written with dots, that don't count.
    """
    before, after = _flat(old), _flat(new)
    return [
        line
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not key.startswith(ignored)
        for line in _lines(key, before.get(key), after.get(key))
    ]


def _lines(key: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Sequence) and isinstance(new, Sequence) and not isinstance(old, str):
        gone = [f"{key}: - {_brief(one)}" for one in old if one not in new]
        came = [f"{key}: + {_brief(one)}" for one in new if one not in old]
        shown = gone[:ELEMENTS] + came[:ELEMENTS]
        more = len(gone) + len(came) - len(shown)
        if shown:
            return [*shown, *([f"{key}: and {more} more"] if more else [])]
        return [f"{key}: the same in another order"]
    if isinstance(old, str) and isinstance(new, str):
        pairs = zip(old, new, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        return [f"{key}: {_brief(old, same)} -> {_brief(new, same)}"]
    return [f"{key}: {_brief(old)} -> {_brief(new)}"]


def _brief(value: Any, same: int = 0) -> str:
    """The value, or of a long one the part from shortly before its first `same` characters end."""
    text = str(value)
    start = max(same - AROUND, 0) if len(text) > SHOWN else 0
    text = " ".join(text[start:].split())
    text = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return f"...{text}" if start else text


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            name: leaf
            for key, inner in value.items()
            for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: value}
