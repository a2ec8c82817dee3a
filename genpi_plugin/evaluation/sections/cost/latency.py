"""Time to first token and total latency of the four settings, in this process."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genpi_plugin.evaluation.sections.cost.flops import cache_bytes, flop_counter
from genpi_plugin.evaluation.sections.cost.requests import (
    ADAPTER_MERGED,
    ADAPTER_UNMERGED,
    BATCH_SIZES,
    PROMPT_CACHED,
    PROMPT_COLD,
    REPEATS,
    Run,
    probes_like,
)
from genpi_plugin.evaluation.subjects.subject import Input, Subject
from genpi_plugin.reading import capabilities, trials
from genpi_plugin.reading.prefix import common_prefix


@dataclass(frozen=True)
class RequestCounts:
    """Counted on the real model for one request: FLOPs up to the first token, cache bytes then."""

    prefill_flops: int
    cache_bytes: int


@dataclass(frozen=True)
class InProcess:
    """Runs of the grid, and the FLOP counts of each setting's first request."""

    runs: list[Run]
    counted: dict[str, RequestCounts]


def measure_in_process(
    teacher: Subject,
    floor: Subject,
    student: Subject,
    requests: dict[int, Input],
    tokens: int,
    advance: Callable[[int], None],
    repeats: int = REPEATS,
) -> InProcess:
    """Time the four settings, one after the other in every repeat.

    A merged adapter leaves a model with the base model's shapes, so it costs what the floor costs.
    The floor is measured in its place, and no weight is touched. So does a student that is a whole
    model, and nothing of it is unmerged.

    Args:
        requests: number of turns -> a request.
        tokens: number to generate for each request; end tokens are ignored.
        advance: called with 1 after each timed answer.
    """
    subjects = {
        PROMPT_COLD: teacher,
        PROMPT_CACHED: teacher,
        ADAPTER_UNMERGED: student,
        ADAPTER_MERGED: floor,
    }
    first = min(requests)
    probes = probes_like(requests[first])
    with teacher.switched():
        prefix = _CopiedPrefix(teacher.model, common_prefix(teacher.requests(probes)))
    if not prefix.copies:
        del subjects[PROMPT_CACHED]  # nothing that this model could go on from
    if not student.adapter:
        del subjects[ADAPTER_UNMERGED]
    ids = {
        (setting, turns): subject.request(messages)
        for setting, subject in subjects.items()
        for turns, messages in requests.items()
    }
    cached = {setting: len(prefix.ids) if setting == PROMPT_CACHED else 0 for setting in subjects}

    def answer(setting: str, turns: int, batch: int) -> tuple[float, float]:
        cache = prefix.for_batch(batch) if cached[setting] else None
        rest = ids[setting, turns][cached[setting] :]
        with subjects[setting].switched():
            return timed_answer(subjects[setting].model, rest, cache, batch, tokens)

    counts = {}
    for setting, subject in subjects.items():  # also warms up
        cache = prefix.for_batch(1) if cached[setting] else None
        with subject.switched():
            rest = ids[setting, first][cached[setting] :]
            counts[setting] = _count(subject.model, rest, cache)
    cells = [(turns, batch) for turns in requests for batch in BATCH_SIZES]
    times: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for turns, batch in cells:
            for setting in subjects:
                times.setdefault((setting, turns, batch), []).append(answer(setting, turns, batch))
                advance(1)
    runs = [
        Run(
            setting,
            turns,
            batch,
            len(ids[setting, turns]),
            cached[setting],
            tokens,
            [ttft for ttft, _ in timed],
            [latency for _, latency in timed],
        )
        for (setting, turns, batch), timed in times.items()
    ]
    return InProcess(runs, counts)


def timed_answer(
    model: Any, ids: Sequence[int], cache: Any, batch: int, tokens: int
) -> tuple[float, float]:
    """Seconds to the first token and to the last, greedy, of `batch` equal requests at once.

    Args:
        ids: of the request, after what is in `cache`.
        cache: written to; its copying is not timed. None: the model makes one.
    """
    new = torch.tensor([list(ids)] * batch, device=model.device)
    with torch.inference_mode():
        started = time.perf_counter()
        output = model(input_ids=new, past_key_values=cache, use_cache=True, logits_to_keep=1)
        token = output.logits[:, -1:].argmax(-1)
        token.tolist()  # as if sent to the client; waits for an accelerator to finish
        first = time.perf_counter() - started
        for _ in range(tokens - 1):
            cache = output.past_key_values
            output = model(input_ids=token, past_key_values=cache, use_cache=True)
            token = output.logits[:, -1:].argmax(-1)
            token.tolist()
        return first, time.perf_counter() - started


class _CopiedPrefix:
    """The KV cache of the tokens that all requests begin with.

    Each row gets its own copy, and the model's own attention reads it: the cache is the only
    difference between this setting and the others.
    """

    def __init__(self, model: Any, ids: list[int]) -> None:
        self.ids = ids
        self.copies = not trials.reads_behind(model, "copied", capabilities.SHORT)
        self._cache: Any = None
        if ids and self.copies:
            given = torch.tensor([ids], device=model.device)
            with torch.inference_mode():
                output = model(input_ids=given, use_cache=True, logits_to_keep=1)
            self._cache = output.past_key_values

    def for_batch(self, rows: int) -> Any:
        """A cache for `rows` sequences, free to be written to."""
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(rows)
        return cache


def _count(model: Any, ids: Sequence[int], cache: Any) -> RequestCounts:
    new = torch.tensor([list(ids)], device=model.device)
    with torch.inference_mode(), flop_counter() as counter:
        output = model(input_ids=new, past_key_values=cache, use_cache=True, logits_to_keep=1)
    with contextlib.suppress(AttributeError):  # another kind of cache, without layers
        return RequestCounts(counter.get_total_flops(), cache_bytes(output.past_key_values))
    return RequestCounts(counter.get_total_flops(), 0)
