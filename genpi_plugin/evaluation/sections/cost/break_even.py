"""After how many requests the adapter has paid for itself, and what to say of it."""

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
    """An adapter against a prompt.

    Attributes:
        outcome: `paid_back` after `requests`; `never`, where a request costs as much or more with
            the adapter; `unclear`, where the repeats do not agree which is dearer; `unknown`, where
            a request saves something but what was spent is not known.
        saved: by a request: the median over repeats, the least and the most.
    """

    outcome: str
    requests: int | None
    saved: float
    saved_least: float
    saved_most: float


def break_even(spent: float | None, prompt: Sequence[float], adapter: Sequence[float]) -> BreakEven:
    """Requests after which what was spent has come back.

    Args:
        spent: on synthesis and training, in the unit of the others; None: not known.
        prompt, adapter: the cost of a request, an entry a repeat; those at the same place were
            measured one after the other, so a machine that is busy meanwhile spoils neither.
    """
    saved = [dear - cheap for dear, cheap in zip(prompt, adapter, strict=True)]
    middle = median(saved)
    if max(saved) <= 0:
        outcome = NEVER
    elif min(saved) <= 0:
        outcome = UNCLEAR
    else:
        outcome = UNKNOWN if spent is None else PAID_BACK
    requests = math.ceil(spent / middle) if spent is not None and outcome == PAID_BACK else None
    return BreakEven(outcome, requests, middle, min(saved), max(saved))


def against_prompts(
    spent: float | None, costs: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Prompt setting -> adapter setting -> `BreakEven` as a mapping, where both were measured."""
    return {
        prompt: {
            adapter: asdict(break_even(spent, costs[prompt], costs[adapter]))
            for adapter in ADAPTERS
            if adapter in costs
        }
        for prompt in PROMPTS
        if prompt in costs
    }


def verdict(
    latency: Mapping[str, float], table: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> str:
    """What a team wants to hear, in a sentence for each prompt setting.

    Args:
        latency: seconds of a request by setting.
        table: of `against_prompts`, in seconds.
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
    start = f"Prompt {PROMPTS[prompt]}: {duration(seconds)} a request; adapter {', '.join(parts)}."
    if prompt != PROMPT_CACHED:
        return start
    return f"{start} {_cached_wins(found)}"


def _in_words(result: Mapping[str, Any]) -> str:
    return {
        PAID_BACK: f"paid back after {result['requests'] or 0:,} requests",
        NEVER: "never paid back",
        UNCLEAR: "too close to tell",
        UNKNOWN: "saves time; break-even unknown, for what was spent is",
    }[result["outcome"]]


def _cached_wins(found: Mapping[str, Mapping[str, Any]]) -> str:
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
    """Seconds as a reader wants them."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
