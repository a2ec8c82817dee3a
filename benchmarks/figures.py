"""Figures of benchmarks as text, and over several seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import t as student_t

Interval = Mapping[str, float | None]


def shown(interval: Mapping[str, Any], form: str = ".0%") -> str:
    """A figure with its interval."""
    if interval.get("value") is None:
        return "-"
    text = format(interval["value"], form)
    if interval.get("ci_low") is None:
        return text
    return f"{text} [{format(interval['ci_low'], form)}, {format(interval['ci_high'], form)}]"


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % t-interval of a mean over two seeds or more."""
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return float(student_t.ppf(0.975, len(values) - 1)) * spread


def over_seeds(intervals: Sequence[Interval]) -> Interval:
    """A figure's mean over seeds with its 95 % t-interval; of one seed, as it is."""
    if len(intervals) == 1:
        return intervals[0]
    values = [one["value"] for one in intervals if one["value"] is not None]
    if len(values) < max(2, len(intervals)):
        return {"value": None, "ci_low": None, "ci_high": None}
    mean, half = statistics.mean(values), half_width(values)
    return {"value": mean, "ci_low": mean - half, "ci_high": mean + half}
