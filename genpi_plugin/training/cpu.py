"""What axolotl has to be told in order to train on CPUs, in one process or in several (DDP):

ACCELERATE_USE_CPU=true axolotl train X.yml --launcher torchrun -- --nproc_per_node=2
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping
from typing import Any

# The layer that is timed, (inputs, outputs), for so many tokens, so often.
LAYER, ROWS, REPEATS = (1024, 1024), 256, 7
# What else a step does gains less than its layers do: bfloat16's may take this share of the time.
GAIN = 0.7


def cpu_requested() -> bool:
    """Whether the user asked accelerate for CPUs, whatever other devices there are."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")


def shards(cfg: Mapping[str, Any]) -> bool:
    """Whether DeepSpeed or FSDP is to run."""
    return bool(cfg.get("deepspeed") or cfg.get("fsdp") or cfg.get("fsdp_config"))


def training_arguments(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """`use_cpu` where there is no accelerator; bf16 is refused otherwise."""
    import torch

    return {} if torch.accelerator.is_available() or shards(cfg) else {"use_cpu": True}


def computes_bfloat16() -> bool:
    """Whether what trains here has instructions for bfloat16; a processor without takes many times
    as long as in float32 (`python -m benchmarks.bfloat16`)."""
    import torch

    return torch.accelerator.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@functools.cache
def gains_by_bfloat16() -> bool:
    """Whether what trains here is quicker in bfloat16 than in float32.

    Instructions for it do not tell: with the same ones a step takes a third of the time on one
    processor and longer on another (`python -m benchmarks.bfloat16`). So a layer is timed in both,
    which takes a fraction of a second.
    """
    import torch

    if torch.accelerator.is_available() or not computes_bfloat16():
        return computes_bfloat16()
    return layer_seconds(torch.bfloat16) < GAIN * layer_seconds(torch.float32)


def layer_seconds(dtype: Any) -> float:
    """Of a linear layer, forward and backward: the quickest of several times."""
    import torch

    layer = torch.nn.Linear(*LAYER, bias=False, dtype=dtype)
    inputs = torch.ones(ROWS, LAYER[0], dtype=dtype, requires_grad=True)
    found = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        layer(inputs).sum().backward()
        found.append(time.perf_counter() - begun)
    return min(found)


def slow_bfloat16(cfg: Mapping[str, Any]) -> str:
    """What to say of `bf16: true` on a processor without instructions for it; "" elsewhere."""
    if not cfg.get("bf16") or computes_bfloat16():
        return ""
    return (
        "`bf16: true`, and this processor has no instructions for bfloat16: it takes many times as "
        "long as float32. `bf16: false` trains in float32."
    )
