"""Tokens a second: a training step beside bare forward and backward, and the teacher's pass."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.gpu_check.checks import Check, Finding, Machine
from benchmarks.gpu_check.exactness import TOP_K, check_there, our_loss
from benchmarks.gpu_check.made import SHAPE_1B, TINY, grown, trained
from benchmarks.gpu_check.packages import need, need_capability
from benchmarks.gpu_check.teaching import alone, targets_of
from genpi_plugin.data.chat import TokenSequence
from genpi_plugin.data.examples import Pair
from genpi_plugin.reading.layout import Layout
from genpi_plugin.teacher.targets import Targets

ROUNDS = 5
# A step of ours computes the logits of supervised tokens twice instead of storing them, and the
# divergence besides.
LEAST_SHARE = 0.7
GIB = 2**30


def checks(machine: Machine) -> list[Check]:
    """Of the group, in order. On a CPU, which others use besides, speed is only measured."""
    least = LEAST_SHARE if machine.gpu else None
    return [
        Check("training step, of bare forward and backward, sdpa",
              lambda here: step(here, "sdpa", "bucketed"), "of bare", least, True),
        Check("training step, of bare forward and backward, flash attention 2, packed",
              lambda here: step(here, "flash_attention_2", "packed"),
              "of bare", least, True),
        Check("teacher's pass, prompt read once", teacher_pass, "tokens/s"),
    ]  # fmt: skip


def step(machine: Machine, attention: str, layout: Layout) -> Finding:
    """Seconds of plain torch on the very same tokens, over ours; a model of a billion parameters.

    Sequences of one length, so that neither has padding, half of each supervised.
    """
    if attention != "sdpa":
        check_there(machine, attention, torch.bfloat16)
    shape, dtype, length = size(machine)
    model = grown(shape, machine.device, dtype, nf4=False)
    model.get_base_model().set_attn_implementation(attention)
    rows = equal_rows(shape["vocab_size"], 4, length)
    targets = made_up_targets(sum(length // 2 for _ in rows), shape["vocab_size"], machine.device)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "ours": lambda: our_loss(model, rows, targets, layout, dtype),
        "bare": lambda: bare_loss(model, rows, dtype),
    }
    seconds = interleaved(model, ways)
    tokens = length * len(rows)
    return Finding(
        seconds["bare"] / seconds["ours"],
        f"{tokens / seconds['ours']:.0f} tokens/s, bare {tokens / seconds['bare']:.0f}",
    )


def size(machine: Machine) -> tuple[dict[str, Any], torch.dtype, int]:
    """Shape, precision and tokens of a sequence."""
    if not machine.gpu:
        return TINY, torch.float32, 64
    need_capability((8, 0), "bfloat16")
    free = torch.cuda.mem_get_info()[0] / GIB
    return SHAPE_1B, torch.bfloat16, 1024 if free > 20 else 256


def equal_rows(vocabulary: int, count: int, length: int) -> list[Pair]:
    """Rows without recital, the second half of each an answer."""
    found = []
    for row in range(count):
        ids = [3 + (row * 7919 + at * 104729) % (vocabulary - 3) for at in range(length)]
        sequence = TokenSequence()
        sequence.extend(ids[: length // 2], supervised=False)
        sequence.extend(ids[length // 2 :], supervised=True)
        found.append(Pair([sequence], [], [], "prompt"))
    return found


def made_up_targets(tokens: int, vocabulary: int, device: str) -> Targets:
    """Any tokens, each once in its position, with half of the probability in the tail."""
    first = torch.randint(vocabulary - TOP_K, (tokens, 1), device=device)
    return Targets(
        (first + torch.arange(TOP_K, device=device)).int(),
        torch.full((tokens, TOP_K), 0.5 / TOP_K, device=device).log(),
        torch.full((tokens,), 0.5, device=device).log(),
    )


def bare_loss(model: Any, rows: list[Pair], dtype: torch.dtype) -> torch.Tensor:
    """The mean cross entropy of the same supervised tokens, in one call, their logits alone."""
    sequences = [s for row in rows for s in row.behaviour]
    ids = torch.tensor([s.ids for s in sequences], device=model.device)
    length = ids.shape[1]
    wanted = torch.arange(length // 2 - 1, length - 1, device=model.device)
    with torch.autocast(model.device.type, dtype, enabled=dtype is not torch.float32):
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=wanted).logits
    return F.cross_entropy(logits.float().flatten(0, 1), ids[:, length // 2 :].flatten())


def interleaved(model: Any, ways: dict[str, Callable[[], torch.Tensor]]) -> dict[str, float]:
    """Median seconds of forward and backward of each way, after two that are not counted."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 2):
        for name, way in ways.items():
            synchronize(model.device)
            started = time.perf_counter()
            way().backward()
            synchronize(model.device)
            taken[name].append(time.perf_counter() - started)
            for parameter in trained(model):
                parameter.grad = None
    return {name: statistics.median(seconds[2:]) for name, seconds in taken.items()}


def teacher_pass(machine: Machine) -> Finding:
    """The behaviour tokens that targets are computed for, a second, beside reading the prompt with
    every row."""
    need("axolotl")
    shape, dtype, length = size(machine)
    model = grown(shape, machine.device, dtype, nf4=False)
    prompt = equal_rows(shape["vocab_size"], 1, 2 * length)[0].behaviour[0].ids
    rows = []
    for row in equal_rows(shape["vocab_size"], 8, length // 4):
        read = TokenSequence()
        read.extend(prompt, supervised=False)
        read.ids += row.behaviour[0].ids
        read.labels += row.behaviour[0].labels
        rows.append(replace(row, teacher=[read]))
    seconds = []
    for given in (rows, rows, alone(rows)):  # the first warms up
        synchronize(model.device)
        started = time.perf_counter()
        targets_of(model, given)
        seconds.append(time.perf_counter() - started)
    supervised = sum(label != -100 for row in rows for label in row.teacher[0].labels)
    return Finding(
        supervised / seconds[1],
        f"a prompt of {len(prompt)} tokens; read with each row {supervised / seconds[2]:.0f}",
    )


def synchronize(device: torch.device) -> None:
    """Wait for what the device was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()
