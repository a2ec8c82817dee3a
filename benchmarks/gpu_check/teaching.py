"""The teacher: the model itself with the prompt, its adapter off; its prompt read once; nf4."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check.checks import Check, Finding, Machine
from benchmarks.gpu_check.exactness import (
    NAMES,
    check_there,
    compared,
    our_step,
    plain_step,
    plain_targets,
    rows_for,
    shape_for,
    supervised_logits,
)
from benchmarks.gpu_check.made import base_model, dequantized, quantized, with_adapter
from benchmarks.gpu_check.packages import need
from genpi_plugin.data.examples import Pair
from genpi_plugin.reading.agreement import TOLERANCE as NATS
from genpi_plugin.reading.agreement import divergence
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.prefix import PrefixCache
from genpi_plugin.reading.supervised import supervised_states

# nf4 multiplies in the other order than a dense model: rounding differs in every layer.
NF4 = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
UNIT = "nats a token"


class OneProcess:
    """What the teacher asks of accelerate."""

    process_index, num_processes, is_local_main_process = 0, 1, False

    def wait_for_everyone(self) -> None:
        """Nobody to wait for."""


def checks(machine: Machine) -> list[Check]:
    """Of the group, in order."""
    found = []
    for dtype, name in NAMES.items():
        found += [
            Check(f"prompt read once for all rows = read with each, {name}",
                  lambda here, dtype=dtype: prefix(here, dtype), UNIT, NATS[dtype]),
            Check(f"teacher, adapter off = base with the prompt, {name}",
                  lambda here, dtype=dtype: taught(here, dtype), UNIT, NATS[dtype]),
            Check(f"joint loss, QLoRA nf4, {name}, bucketed",
                  lambda here, dtype=dtype: nf4_loss(here, dtype),
                  "relative", NF4[dtype]),
            Check(f"teacher, QLoRA nf4, adapter off = base with the prompt, {name}",
                  lambda here, dtype=dtype: taught(here, dtype, nf4=True),
                  UNIT, NATS[dtype]),
        ]  # fmt: skip
    return found


def prefix(machine: Machine, dtype: torch.dtype) -> Finding:
    """What the output head is given behind a prompt held in the cache, and behind one that is read.

    Raises:
        RuntimeError: the cache was not used.
    """
    check_there(machine, "sdpa", dtype)
    rows, model = rows_for(machine), base_model(shape_for(machine)).to(machine.device, dtype).eval()
    sequences = [(s.ids, s.labels) for row in rows for s in row.teacher]
    head = SupervisedHead(model)
    with torch.no_grad():
        held = PrefixCache(model, [_request(*sequence) for sequence in sequences],
                           longest=max(len(ids) for ids, _ in sequences))  # fmt: skip
        if held.way == "plain":
            raise RuntimeError("the model reads the prompt with every row: its trial failed")
        found = head.logits(supervised_states(model, head, held, sequences))
        right = torch.cat([supervised_logits(model, [s])[0] for row in rows for s in row.teacher])
    return Finding(divergence(found, right), f"{len(held)} tokens held, {held.way}")


def taught(machine: Machine, dtype: torch.dtype, nf4: bool = False) -> Finding:
    """The teacher's targets against the base model from before it had an adapter."""
    check_there(machine, "sdpa", dtype)
    need("axolotl")
    base = base_model(shape_for(machine)).to(machine.device, dtype).eval()
    if nf4:
        need("bitsandbytes")
        # In the teacher's mode: bitsandbytes has kernels of its own for it on some processors.
        base = quantized(base, machine.device, dtype).eval()
    rows = rows_for(machine)
    with torch.no_grad():
        right = torch.cat([supervised_logits(base, [s])[0] for row in rows for s in row.teacher])
    found = targets_of(with_adapter(base).to(machine.device), rows)
    return Finding(divergence(found, right))


def nf4_loss(machine: Machine, dtype: torch.dtype) -> Finding:
    """Against plain torch on a dense float32 model of the quantized one's numbers."""
    check_there(machine, "sdpa", dtype)
    need("bitsandbytes")
    shape, rows = shape_for(machine), rows_for(machine)
    base = quantized(base_model(shape).to(machine.device, dtype), machine.device, dtype)
    dense = with_adapter(dequantized(base, shape)).to(machine.device)
    targets = plain_targets(dense, rows)
    right = plain_step(dense, rows, targets)
    model = with_adapter(base).to(machine.device)
    return compared(our_step(model, rows, targets, "bucketed", dtype), right)


def targets_of(model: Any, rows: Sequence[Pair]) -> torch.Tensor:
    """What the teacher holds likely at each behaviour token, [tokens, vocabulary], in nats."""
    import datasets

    from genpi_plugin.data.examples import TEACHER_KEY
    from genpi_plugin.teacher.targets import TargetStore
    from genpi_plugin.teacher.teacher import Teacher

    with tempfile.TemporaryDirectory() as folder:
        teacher = Teacher(TargetStore(Path(folder)), None, token_budget=16384)
        made = datasets.Dataset.from_list([row.columns() for row in rows])
        teacher.take_teacher_columns(made)
        teacher.prepare(model, OneProcess())
        targets = teacher.targets(made[TEACHER_KEY], torch.device(model.device))
    found = torch.empty_like(targets.logprobs)
    return found.scatter(-1, targets.token_ids.long(), targets.logprobs)


def alone(rows: Sequence[Pair]) -> list[Pair]:
    """The rows as if each had a prompt of its own, which is then read with it."""
    return [replace(row, prompt_id=f"row {place}") for place, row in enumerate(rows)]


def _request(ids: Sequence[int], labels: Sequence[int]) -> list[int]:
    """What stands before the first supervised token."""
    first = next(place for place, label in enumerate(labels) if label != -100)
    return list(ids[:first])
