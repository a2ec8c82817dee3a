"""What axolotl has to be told in order to train on CPUs, in one process or in several (DDP):

ACCELERATE_USE_CPU=true axolotl train X.yml --launcher torchrun -- --nproc_per_node=2
"""

from __future__ import annotations

import os
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
