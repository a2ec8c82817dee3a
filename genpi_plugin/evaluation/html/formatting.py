"""Figures and names as the report shows them. Pure functions from numbers to text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

FLOOR, TEACHER = "floor", "teacher"

# An interval of metrics.json: value, ci_low, ci_high; None where it is not defined.
Interval = Mapping[str, Any]
Formatter = Callable[[float], str]

NARROW_SPACE = "\u202f"
UNDEFINED = "not defined"


def percent(share: float) -> str:
    """A share as a percentage. Only 0 and 1 are shown as 0 and 100 %."""
    value = 100 * share
    if 0 < value < 0.1:
        shown = "<0.1"
    elif 99.9 < value < 100:
        shown = ">99.9"
    else:
        close = 0 < value < 1 or 99 < value < 100
        shown = _signed(value, 1 if close else 0)
    return f"{shown}{NARROW_SPACE}%"


def nats(value: float) -> str:
    return _signed(value, 3)


def tenths(value: float) -> str:
    return _signed(value, 1)


def hundredths(value: float) -> str:
    return _signed(value, 2)


def _signed(value: float, places: int) -> str:
    """With a proper minus sign, and none before a zero."""
    text = f"{value:.{places}f}"
    return text.lstrip("-") if not float(text) else text.replace("-", "−")


def count(value: float) -> str:
    """A count, or the mean of counts."""
    whole = abs(value - round(value)) < 0.05 or value >= 100
    return f"{value:,.0f}" if whole else f"{value:,.1f}"


def seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms" if value >= 0.01 or not value else f"{value * 1000:.1f} ms"
    if value < 120:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def size(value: float) -> str:
    """Bytes."""
    return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def flops(value: float) -> str:
    return _scaled(value, 1000, ("FLOPs", "kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs", "PFLOPs"))


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    for unit in units:
        if abs(value) < step or unit == units[-1]:
            break
        value /= step
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def interval_text(interval: Interval, formatter: Formatter) -> str:
    """`[82, 85]`; empty where there is no interval or it has no width."""
    low, high = interval["ci_low"], interval["ci_high"]
    if interval["value"] is None or low is None or high is None or low == high:
        return ""
    (first, unit), (second, same) = _split(formatter(low)), _split(formatter(high))
    # The value shown before it already has the unit.
    if unit == same == _split(formatter(interval["value"]))[1]:
        return f"[{first}, {second}]"
    return f"[{formatter(low)}, {formatter(high)}]"


def _split(shown: str) -> tuple[str, str]:
    """A formatted figure: the number, and its unit with the space before it."""
    place = max(shown.rfind(" "), shown.rfind(NARROW_SPACE))
    return (shown, "") if place < 0 else (shown[:place], shown[place:])


def value_text(interval: Interval, formatter: Formatter) -> str:
    return UNDEFINED if interval["value"] is None else formatter(interval["value"])


def figure(interval: Interval, formatter: Formatter) -> str:
    """Value and interval in one string."""
    return f"{value_text(interval, formatter)} {interval_text(interval, formatter)}".strip()


@dataclass(frozen=True)
class Metric:
    """A metric's label for a reader, and how its value is formatted."""

    label: str
    formatter: Formatter


METRICS = {
    "internalization": Metric("internalization", percent),
    "kl_to_teacher": Metric("KL(teacher‖·), nats per token", nats),
    "own_path": Metric("along its own answers", percent),
    "kl_own_path": Metric("KL(teacher‖·) along its own answers", nats),
    "kl_own_path_reverse": Metric("KL(·‖teacher) along its own answers", nats),
    "answer_tokens": Metric("tokens of its answers", tenths),
    "valid": Metric("well-formed actions", percent),
    "agreement": Metric("action is the teacher’s", percent),
    "call_made": Metric("calls where the teacher does", percent),
    "call_tool": Metric("calls the teacher’s tools", percent),
    "call_arguments": Metric("with its arguments", percent),
    "values": Metric("uses its values", percent),
    "exact": Metric("answer is the teacher’s", percent),
    "chrf": Metric("chrF to the teacher’s answer", tenths),
    "thinks": Metric("answers with thoughts", percent),
}


def metric(name: str) -> Metric:
    """A metric by its name; a user's own score is labelled with its name."""
    return METRICS.get(name, Metric(name.replace("_", " "), hundredths))


def students_of(metrics: Mapping[str, Any]) -> list[str]:
    """Names of the adapters, the first first."""
    if metrics.get("students"):
        return list(metrics["students"])
    return [name for name in metrics["systems"] if name not in (FLOOR, TEACHER)]


def role_of(name: str, metrics: Mapping[str, Any]) -> str:
    """A system's description, shown beside its name."""
    if name == FLOOR:
        return "no prompt"
    if name == TEACHER:
        return "prompt"
    return "adapter, no prompt" if name in students_of(metrics) else "another prompt"


def colours(metrics: Mapping[str, Any]) -> dict[str, str]:
    """System -> CSS class."""
    others = [name for name in metrics["systems"] if name not in (FLOOR, TEACHER)]
    return {
        FLOOR: "s-floor",
        TEACHER: "s-teacher",
        **{name: f"s-{place % 5}" for place, name in enumerate(others)},
    }


def join_words(parts: list[str]) -> str:
    """`a, b and c`."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
