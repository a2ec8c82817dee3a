"""After how many requests the adapter has paid for itself, and the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from genpi_plugin.evaluation.sections.cost.requests import (
    ADAPTER_MERGED,
    ADAPTER_UNMERGED,
    PROMPT_CACHED,
    PROMPT_COLD,
)

PAID_BACK, NEVER, UNKNOWN, UNCLEAR = "paid_back", "never", "unknown", "unclear"
ADAPTERS = {ADAPTER_MERGED: "merged", ADAPTER_UNMERGED: "unmerged"}
PROMPTS = {PROMPT_COLD: "cold", PROMPT_CACHED: "cached"}


@dataclass(frozen=True)
class BreakEven:
    """An adapter compared with a prompt.

    Attributes:
        outcome: `paid_back` after `requests`; `never`, where a request costs as much or more with
            the adapter; `unclear`, where the repeats disagree which costs more; `unknown`, where a
            request saves something but the upfront cost is not known.
        saved, saved_least, saved_most: per request; median, minimum and maximum over repeats.
    """

    outcome: str
    requests: int | None
    saved: float
    saved_least: float
    saved_most: float


def break_even(
    upfront: float | None, prompt: Sequence[float], adapter: Sequence[float]
) -> BreakEven:
    """Requests after which the upfront cost is paid back.

    Args:
        upfront: cost of synthesis and training, in the unit of the others; None: not known.
        prompt, adapter: the cost of a request, one entry per repeat; entries with the same index
            were measured one after the other, so a busy machine affects both alike.
    """
    saved = [dear - cheap for dear, cheap in zip(prompt, adapter, strict=True)]
    middle = median(saved)
    if max(saved) <= 0:
        outcome = NEVER
    elif min(saved) <= 0:
        outcome = UNCLEAR
    else:
        outcome = UNKNOWN if upfront is None else PAID_BACK
    requests = math.ceil(upfront / middle) if upfront is not None and outcome == PAID_BACK else None
    return BreakEven(outcome, requests, middle, min(saved), max(saved))


def against_prompts(
    upfront: float | None, costs: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Prompt setting -> adapter setting -> `BreakEven` as a mapping, where both were measured."""
    return {
        prompt: {
            adapter: asdict(break_even(upfront, costs[prompt], costs[adapter]))
            for adapter in ADAPTERS
            if adapter in costs
        }
        for prompt in PROMPTS
        if prompt in costs
    }


def verdict(
    latency: Mapping[str, float], table: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> str:
    """The comparison in a sentence for each prompt setting.

    Args:
        latency: seconds of a request by setting.
        table: the result of `against_prompts`, in seconds.
    """
    return " ".join(
        _sentence(prompt, latency[prompt], {name: latency[name] for name in found}, found)
        for prompt, found in table.items()
    )


def _sentence(
    prompt: str,
    seconds: float,
    latency: Mapping[str, float],
    found: Mapping[str, Mapping[str, Any]],
) -> str:
    parts = []
    for adapter, result in found.items():
        took = f"{ADAPTERS[adapter]} {duration(latency[adapter])}"
        parts.append(f"{took} ({_in_words(result)})")
    start = (
        f"Prompt {PROMPTS[prompt]}: {duration(seconds)} per request; adapter {', '.join(parts)}."
    )
    if prompt != PROMPT_CACHED:
        return start
    return f"{start} {_cached_verdict(found)}"


def _in_words(result: Mapping[str, Any]) -> str:
    return {
        PAID_BACK: f"paid back after {result['requests'] or 0:,} requests",
        NEVER: "never paid back",
        UNCLEAR: "too close to tell",
        UNKNOWN: "saves time; break-even unknown, since the upfront cost is",
    }[result["outcome"]]


def _cached_verdict(found: Mapping[str, Mapping[str, Any]]) -> str:
    lost = [name for name, result in found.items() if result["outcome"] == NEVER]
    close = [name for name, result in found.items() if result["outcome"] == UNCLEAR]
    if len(lost) == len(found):
        return "Where the prompt's prefix is cached, the prompt wins: the adapter saves no time."
    if lost:
        names = " and ".join(ADAPTERS[name] for name in lost)
        return f"Where the prompt's prefix is cached, the prompt wins over the adapter {names}."
    if close:
        names = " and ".join(ADAPTERS[name] for name in close)
        return f"With the prefix cached, prompt and adapter {names} take about the same time."
    return "The adapter wins against the cached prefix, too."


def duration(seconds: float) -> str:
    """Seconds as text, in ms below 1 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
