"""Peak memory of a training step at the shapes of an 8B model: random weights, no download."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu_check.checks import Check, Finding, Machine, Skipped
from benchmarks.gpu_check.exactness import our_loss
from benchmarks.gpu_check.made import SHAPE_8B, grown, trained
from benchmarks.gpu_check.packages import need, need_capability, need_gpu
from benchmarks.gpu_check.speed import GIB, equal_rows, made_up_targets

TOKENS = 4096
# GiB. What such a step may take at most, and the free memory below which it is not tried. For nf4
# docs/scaling.md computes 8.8 GB, which are 8.2 GiB; for bf16, weights of 16 GB stand in the place
# of its 5.7.
MOST = {"bf16 LoRA": 24.0, "nf4 QLoRA": 12.0}
NEEDED = MOST


def checks(machine: Machine) -> list[Check]:
    """Of the group, in order."""
    return [
        Check(f"peak memory, 8B shapes, {name}, {TOKENS} tokens, gradient checkpointing",
              lambda here, name=name: peak(here, name), "GiB", most)
        for name, most in MOST.items()
    ]  # fmt: skip


def peak(machine: Machine, name: str) -> Finding:
    """Two optimizer steps; what torch's allocator held at most, model included."""
    need_gpu(machine.gpu, "its memory")
    need_capability((8, 0), "bfloat16")
    nf4 = name == "nf4 QLoRA"
    if nf4:
        need("bitsandbytes")
    free = torch.cuda.mem_get_info()[0] / GIB
    if free < NEEDED[name]:
        raise Skipped(f"{free:.0f} GiB are free, {NEEDED[name]:.0f} are needed")
    model = grown(SHAPE_8B, machine.device, torch.bfloat16, nf4)
    loaded = torch.cuda.memory_allocated() / GIB
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    steps(model, torch.bfloat16, TOKENS)
    used = torch.cuda.max_memory_allocated() / GIB
    reserved = torch.cuda.max_memory_reserved() / GIB
    return Finding(used, f"the model {loaded:.1f}; {reserved:.1f} reserved")


def steps(model: Any, dtype: torch.dtype, tokens: int, count: int = 2) -> list[float]:
    """Train as axolotl does with gradient checkpointing, on one sequence; returns the losses."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    optimizer = torch.optim.AdamW(trained(model), lr=1e-3)
    vocabulary = model.config.vocab_size
    rows = equal_rows(vocabulary, 1, tokens)
    targets = made_up_targets(tokens // 2, vocabulary, model.device)
    losses = []
    for _ in range(count):
        loss = our_loss(model, rows, targets, "bucketed", dtype)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses
