"""What it saves: the four settings, the grid, the break-even. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.evaluation.html.formatting import Formatter, count, flops, percent, seconds, size
from genpi_plugin.evaluation.html.plots import Plot, Row, axis, plain, row, scale_for

# Setting -> its label for a reader, and its CSS class.
SETTINGS = {
    "prompt_cold": ("prompt, cold", "s-teacher"),
    "prompt_cached": ("prompt, prefix cached", "s-teacher soft"),
    "adapter_unmerged": ("adapter, unmerged", "s-0 soft"),
    "adapter_merged": ("adapter, merged", "s-0"),
}
COLUMNS = {
    "request_tokens": ("tokens sent", count),
    "prefill_tokens": ("tokens to read", count),
    "kv_cache_bytes": ("KV cache", size),
    "prefill_flops": ("prefill", flops),
    "decode_flops_per_token": ("decode, per token", flops),
    "ttft_seconds": ("first token", seconds),
    "latency_seconds": ("whole answer", seconds),
}


@dataclass(frozen=True)
class Grid:
    """Seconds to first token and whole answer by turn and batch size, one column per setting."""

    settings: list[str]
    rows: list[tuple[str, str, list[str]]]


@dataclass(frozen=True)
class BreakEven:
    """An adapter compared with a prompt, in time and, where known, in FLOPs."""

    against: str
    adapter: str
    saved: str
    paid: str
    saved_flops: str
    paid_flops: str


@dataclass(frozen=True)
class Cost:
    with_prompt: str
    without: str
    saved: str
    tools: str  # how many of a request's tokens are the tools', in words; "" without tools
    where: str
    plot: Plot | None
    first_tokens: Plot | None
    headings: list[str]
    table: list[tuple[str, str, list[str]]]
    grid: Grid | None
    break_even: list[BreakEven]
    paid_back: str  # the break-even of the merged adapter, in a sentence
    spent: list[tuple[str, str, str]]  # what, seconds and FLOPs, note
    verdict: str
    notes: list[str]


def cost(metrics: Mapping[str, Any]) -> Cost | None:
    """The section's view; None where nothing was counted."""
    section = metrics.get("cost")
    if not section:
        return None
    settings = section.get("settings") or {}
    known = [key for key in COLUMNS if any(key in one for one in settings.values())]
    saved = section.get("request_tokens_saved_share")
    return Cost(
        with_prompt=count(section["request_tokens_with_prompt"]),
        without=count(section["request_tokens_without_prompt"]),
        saved=percent(saved) if saved is not None else "",
        tools=_tools(section),
        where=str(section.get("where") or "in process"),
        plot=_times(settings, "latency_seconds") or _tokens(section),
        first_tokens=_times(settings, "ttft_seconds"),
        headings=[COLUMNS[key][0] for key in known],
        table=[
            (*name_of(name), [_shown(one, key) for key in known]) for name, one in settings.items()
        ],
        grid=_grid(section.get("grid") or []),
        break_even=_break_even(section.get("break_even") or {}),
        paid_back=_paid_back((section.get("break_even") or {}).get("seconds") or {}),
        spent=_spent((section.get("break_even") or {}).get("spent") or {}),
        verdict=section.get("verdict") or "",
        notes=list(section.get("notes") or []),
    )


def _tools(section: Mapping[str, Any]) -> str:
    """The tools' part of a request's tokens, in words."""
    tokens = section.get("tools_tokens")
    if not tokens:
        return ""
    share = percent(tokens / section["request_tokens_with_prompt"])
    return f"{count(tokens)} of them ({share}) are the tools’"


def name_of(setting: str) -> tuple[str, str]:
    """A setting's label for a reader, and its CSS class."""
    return SETTINGS.get(setting, (setting.replace("_", " "), "s-floor"))


def _shown(figures: Mapping[str, Any], key: str) -> str:
    value = figures.get(key)
    return "unknown" if value is None else COLUMNS[key][1](value)


def _times(settings: Mapping[str, Mapping[str, Any]], key: str) -> Plot | None:
    """Median seconds, with the minimum and maximum of the repeats where they are known."""
    found = {name: one[key] for name, one in settings.items() if one.get(key) is not None}
    if not found:
        return None
    figures = {}
    for name, value in found.items():
        between = settings[name].get("latency_range") if key == "latency_seconds" else None
        low, high = between or (None, None)
        figures[name] = {"value": value, "ci_low": low, "ci_high": high}
    scale = scale_for([one["ci_high"] or one["value"] for one in figures.values()])
    rows: list[Row] = [
        row(name_of(name)[0], one, scale, name_of(name)[1], seconds)
        for name, one in figures.items()
    ]
    return Plot(rows, axis(scale, lambda value: f"{value:g} s"))


def _tokens(section: Mapping[str, Any]) -> Plot:
    """Tokens of a request, for when no time was measured."""
    found = [
        ("with the prompt", section["request_tokens_with_prompt"], "s-teacher"),
        ("adapter", section["request_tokens_without_prompt"], "s-0"),
    ]
    scale = scale_for([value for _, value, _ in found])
    return Plot(
        [row(label, plain(value), scale, css, count) for label, value, css in found],
        axis(scale, count),
    )


def _grid(cells: Sequence[Mapping[str, Any]]) -> Grid | None:
    if len({(cell["turns"], cell["batch_size"]) for cell in cells}) < 2:
        return None
    settings = list(dict.fromkeys(cell["setting"] for cell in cells))
    found = {(cell["turns"], cell["batch_size"], cell["setting"]): cell for cell in cells}
    places = sorted({(cell["turns"], cell["batch_size"]) for cell in cells})
    rows = [
        (str(turns), str(batch), [_cell(found.get((turns, batch, name))) for name in settings])
        for turns, batch in places
    ]
    return Grid([name_of(name)[0] for name in settings], rows)


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "–"
    return f"{seconds(cell['ttft_seconds'])} / {seconds(cell['latency_seconds'])}"


def _break_even(table: Mapping[str, Any]) -> list[BreakEven]:
    in_seconds, in_flops = table.get("seconds") or {}, table.get("flops") or {}
    return [
        BreakEven(
            name_of(prompt)[0],
            name_of(adapter)[0],
            *_paid(result, seconds),
            *_paid(in_flops.get(prompt, {}).get(adapter), flops),
        )
        for prompt, adapters in in_seconds.items()
        for adapter, result in adapters.items()
    ]


def _paid_back(in_seconds: Mapping[str, Any]) -> str:
    parts = []
    for prompt, adapters in in_seconds.items():
        if result := adapters.get("adapter_merged"):
            words = {
                "paid_back": f"after {result['requests'] or 0:,} requests",
                "never": "never",
                "unclear": "too close to tell",
                "unknown": "unknown",
            }
            parts.append(f"against the {name_of(prompt)[0]}: {words[result['outcome']]}")
    return f"Merged, it is paid back {'; '.join(parts)}." if parts else ""


def _paid(result: Mapping[str, Any] | None, formatter: Formatter) -> tuple[str, str]:
    """What a request saves, and after how many requests the adapter is paid back."""
    if result is None:
        return "–", "–"
    saved, requests = result["saved"], result["requests"]
    words = {
        "paid_back": f"{requests:,} requests" if requests is not None else "",
        "never": "never: nothing is saved",
        "unclear": "too close to tell",
        "unknown": "unknown: the upfront cost is",
    }
    return formatter(saved) if saved >= 0 else f"−{formatter(-saved)}", words[result["outcome"]]


def _spent(spent: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    found = []
    for what, one in spent.items():
        parts = [seconds(one["seconds"])] if one.get("seconds") is not None else []
        parts += [flops(one["flops"])] if one.get("flops") is not None else []
        found.append((what, ", ".join(parts) or "unknown", one.get("note") or ""))
    return found
