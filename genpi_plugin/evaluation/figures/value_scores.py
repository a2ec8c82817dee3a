"""Whether an answer uses its request's own values of the prompt's slots."""

from __future__ import annotations

from collections.abc import Mapping

NAME = "values"


def values_used(answer: str, values: Mapping[str, str]) -> float:
    """The share of a request's values that stand in an answer, letter for letter."""
    told = [value for value in values.values() if value]
    return sum(value in answer for value in told) / len(told) if told else 0.0
