"""What axolotl has to be told in order to train on CPUs, in one process or in several (DDP):

ACCELERATE_USE_CPU=true axolotl train X.yml --launcher torchrun -- --nproc_per_node=2
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any


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


def gains_by_bfloat16() -> bool:
    """Whether what trains here is quicker in bfloat16 than in float32. The older instructions of
    x86 (AVX512-BF16) multiply no faster than float32's do, those for tiles (AMX) do
    (`python -m benchmarks.bfloat16`)."""
    import torch

    if torch.accelerator.is_available() or platform.machine() not in ("x86_64", "AMD64"):
        return computes_bfloat16()
    return computes_bfloat16() and bool(torch.cpu._is_amx_tile_supported())


def slow_bfloat16(cfg: Mapping[str, Any]) -> str:
    """What to say of `bf16: true` on a processor without instructions for it; "" elsewhere."""
    if not cfg.get("bf16") or computes_bfloat16():
        return ""
    return (
        "`bf16: true`, and this processor has no instructions for bfloat16: it takes many times as "
        "long as float32. `bf16: false` trains in float32."
    )
