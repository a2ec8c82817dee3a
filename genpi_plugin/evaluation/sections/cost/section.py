"""The report's section on cost: measured once, summarized by a pure function."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from genpi_plugin.data.requests import values_of
from genpi_plugin.evaluation.measuring.context import Context, Options
from genpi_plugin.evaluation.sections.cost.break_even import PROMPTS, against_prompts, verdict
from genpi_plugin.evaluation.sections.cost.flops import ModelShape, UnknownShapeError, shape_of
from genpi_plugin.evaluation.sections.cost.latency import RequestCounts, measure_in_process
from genpi_plugin.evaluation.sections.cost.requests import (
    ADAPTER_UNMERGED,
    BATCH_SIZES,
    PROMPT_CACHED,
    REPEATS,
    SETTINGS,
    TURNS,
    Run,
    answer_length,
    histories,
    probes_like,
    typical,
)
from genpi_plugin.evaluation.sections.cost.server import Server, measure_server
from genpi_plugin.evaluation.sections.cost.upfront import (
    RECORD,
    UpfrontCost,
    synthesis_cost,
    training_cost,
)
from genpi_plugin.reading.prefix import common_prefix
from genpi_plugin.training.manifest import MANIFEST_FILE

# Analytic and counted FLOPs that differ by more than this get a note.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Cost:
    """All measurements; `summarize_cost` computes figures from them.

    Attributes:
        where: `in process`, or the server's URL.
        fixed_start: tokens that the chat template puts before every request without the prompt.
        shape: None where the model's FLOPs can't be computed; `notes` says why.
        counted: by setting, the FLOPs counted on the real model; in process only.
        before_first_slot: of a prompt with slots, the tokens of a request before the first: all
            that a cache of its prefix can hold.
    """

    where: str
    runs: list[Run]
    fixed_start: int
    shape: ModelShape | None
    counted: dict[str, RequestCounts]
    synthesis: UpfrontCost
    training: UpfrontCost
    notes: list[str]
    before_first_slot: int | None = None


def measure_cost(context: Context, options: Options) -> Cost:
    """Measure the four settings, in process or against a server, and look up the upfront cost.

    Raises:
        GenPIError: a server that does not answer, does not know a model, or does not stream.
    """
    server = _server_of(options)
    student, notes = context.students[0], []
    shape = None
    try:
        with student.switched():
            shape = shape_of(student.model)
    except UnknownShapeError as error:
        notes.append(f"FLOPs and cache: {error}")
    answers = [generated.text for generated in context.measured.answers[context.teacher.name]]
    found = {
        turns: histories(context.data.asked, context.data.conversations or [], answers, turns)
        for turns in TURNS
    }
    tokens = answer_length(context.measured.tokens)
    measures = len(TURNS) * len(BATCH_SIZES) * REPEATS
    counted: dict[str, RequestCounts] = {}
    with context.progress("cost", measures * len(SETTINGS)) as advance:
        if server is None:
            one = {
                turns: typical(messages, lambda m: len(context.teacher.request(m)), 1)[0]
                for turns, messages in found.items()
            }
            measured = measure_in_process(
                context.teacher, context.floor, student, one, tokens, advance
            )
            runs, counted = measured.runs, measured.counted
        else:
            some = {
                turns: typical(messages, lambda m: len(context.teacher.request(m)), 16)
                for turns, messages in found.items()
            }
            runs, more = measure_server(server, context.teacher, some, tokens, advance)
            notes += more
    probes = probes_like(context.data.asked[0])
    before_slot = None
    if values := values_of(context.data.asked[0]):
        before_slot = len(common_prefix(context.teacher.requests(probes)))
        whole = len(context.teacher.request(context.data.asked[0]))
        notes.append(
            f"The prompt has slots ({', '.join(values)}): a cache of its prefix ends at the first, "
            f"behind {before_slot} of the {whole} tokens of a request."
        )
    return Cost(
        where="in process" if server is None else server.url,
        runs=runs,
        fixed_start=len(common_prefix(student.requests(probes))),
        shape=shape,
        counted=counted,
        synthesis=synthesis_cost(options.dataset, options.base_model, shape),
        training=training_cost(options.adapter),
        notes=notes,
        before_first_slot=before_slot,
    )


def cost_depends(options: Options) -> list[str | Path | None]:
    """What the result depends on besides the evaluation: the server, or this machine, and the
    records of the upfront cost."""
    server = [options.server, options.server_model, options.server_adapter, platform.node()]
    return [*server, options.dataset / RECORD, options.adapter / MANIFEST_FILE]


def summarize_cost(cost: Cost, seed: int = 0) -> dict[str, Any]:
    """The `cost` of `metrics.json`, except the tokens of a request; JSON types.

    `settings` are those of one request in its first turn; `grid` has all that was measured.
    `machine_seconds` is a request's share of its batch's time.
    """
    first = [run for run in cost.runs if run.turns == TURNS[0] and run.batch_size == BATCH_SIZES[0]]
    settings = {run.setting: _figures(run, cost) for run in first}
    seconds = against_prompts(
        _total(cost.synthesis.seconds, cost.training.seconds),
        {run.setting: run.latency_seconds for run in first},
    )
    flops = _flops_against_prompts(cost, cost.shape, first) if cost.shape else None
    return {
        "where": cost.where,
        "settings": settings,
        **(
            {}
            if cost.before_first_slot is None
            else {"tokens_before_first_slot": cost.before_first_slot}
        ),
        "grid": [
            {
                "setting": run.setting,
                "turns": run.turns,
                "batch_size": run.batch_size,
                **_figures(run, cost),
            }
            for run in cost.runs
        ],
        "break_even": {
            "spent": {"synthesis": asdict(cost.synthesis), "training": asdict(cost.training)},
            "seconds": seconds,
            "flops": flops,
        },
        "verdict": verdict(
            {name: figures["latency_seconds"] for name, figures in settings.items()}, seconds
        ),
        "notes": [*cost.notes, *_disagreements(settings)],
    }


def _server_of(options: Options) -> Server | None:
    if options.server is None:
        return None
    name = options.server_model or options.base_model
    return Server(options.server, name, options.server_adapter)


def _figures(run: Run, cost: Cost) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "request_tokens": run.request_tokens,
        "cached_tokens": run.cached_tokens,
        "prefill_tokens": run.request_tokens - run.cached_tokens,
        "answer_tokens": run.answer_tokens,
        "ttft_seconds": median(run.ttft_seconds),
        "latency_seconds": median(run.latency_seconds),
        "latency_range": [min(run.latency_seconds), max(run.latency_seconds)],
        "machine_seconds": median(run.latency_seconds) / run.batch_size,
    }
    if cost.shape:
        figures |= _analytic(run, cost.shape)
    counted = cost.counted.get(run.setting)
    if counted and run.turns == TURNS[0]:
        figures["prefill_flops_counted"] = counted.prefill_flops
    return figures


def _analytic(run: Run, shape: ModelShape) -> dict[str, Any]:
    adapter = run.setting == ADAPTER_UNMERGED
    steps = run.answer_tokens - 1  # the first token comes out of the prefill
    prefill = shape.flops(run.request_tokens - run.cached_tokens, run.cached_tokens, adapter)
    decode = shape.decode_flops(run.request_tokens, steps, adapter)
    return {
        "kv_cache_bytes": shape.kv_bytes(run.request_tokens + steps),
        "kv_cache_bytes_shared": shape.kv_bytes(run.cached_tokens),
        "prefill_flops": prefill,
        "decode_flops_per_token": decode / steps,
        "request_flops": prefill + decode,
    }


def _flops_against_prompts(cost: Cost, shape: ModelShape, runs: Sequence[Run]) -> dict[str, Any]:
    """Break-even in FLOPs.

    A server that caches the prompt caches the start of a request without it as well. Against the
    cached prompt, the adapter's requests are counted that way.
    """
    upfront = _total(cost.synthesis.flops, cost.training.flops)

    def costs(start: int) -> dict[str, list[float]]:
        found = {}
        for run in runs:
            counted = run if run.setting in PROMPTS else replace(run, cached_tokens=start)
            found[run.setting] = [float(_analytic(counted, shape)["request_flops"])]
        return found

    cold, cached = (against_prompts(upfront, costs(start)) for start in (0, cost.fixed_start))
    return {name: (cached if name == PROMPT_CACHED else cold)[name] for name in cold}


def _disagreements(settings: dict[str, dict[str, Any]]) -> list[str]:
    found = []
    for name, figures in settings.items():
        analytic, counted = figures.get("prefill_flops"), figures.get("prefill_flops_counted")
        if analytic and counted and abs(analytic / counted - 1) > TOLERANCE:
            found.append(
                f"{name}: {counted:.3g} FLOPs were counted up to the first token, "
                f"{analytic:.3g} calculated. Kernels unknown to the counter cause this, and "
                "quantized weights."
            )
    return found


def _total(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def table_rows(summary: dict[str, Any]) -> Sequence[list[str]]:
    """The four settings as rows of text, the first one the headings."""
    rows = [
        [
            "",
            "tokens",
            "to read",
            "KV cache",
            "prefill FLOPs",
            "FLOPs a token",
            "first token",
            "whole",
        ]
    ]
    for name, figures in summary["settings"].items():
        rows.append(
            [
                name.replace("_", " "),
                str(figures["request_tokens"]),
                str(figures["prefill_tokens"]),
                _scaled(figures.get("kv_cache_bytes"), "B", 1024),
                _scaled(figures.get("prefill_flops"), "", 1000),
                _scaled(figures.get("decode_flops_per_token"), "", 1000),
                f"{figures['ttft_seconds'] * 1000:,.0f} ms",
                f"{figures['latency_seconds'] * 1000:,.0f} ms",
            ]
        )
    return rows


def _scaled(value: float | None, unit: str, step: int) -> str:
    if value is None:
        return "unknown"
    for prefix in ("", "k", "M", "G", "T"):
        if value < step or prefix == "T":
            break
        value /= step
    return f"{value:.3g} {prefix}{'i' if step == 1024 and prefix else ''}{unit}".rstrip()
