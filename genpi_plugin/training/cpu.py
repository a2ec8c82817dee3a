"""What axolotl and accelerate need in order to train on CPUs with several processes.

For trying a recipe, DeepSpeed and FSDP2 included, where there are no GPUs:

    ACCELERATE_USE_CPU=true axolotl train X.yml --launcher torchrun -- --nproc_per_node=2
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

USE_CPU_VARIABLE = "ACCELERATE_USE_CPU"


def cpu_requested() -> bool:
    """Whether the user asked for CPUs, whatever other devices there are."""
    return os.environ.get(USE_CPU_VARIABLE, "").lower() in ("1", "true")


def prepare_sharding_on_cpu(cfg: Mapping[str, Any]) -> None:
    """Before axolotl sets up its processes: let DeepSpeed and FSDP2 run on the requested CPUs.

    Asked for CPUs, accelerate (1.13) silently ignores both and trains with DDP. So its variable is
    unset, and the CPUs are presented as one of the accelerators it knows.
    """
    if not (cpu_requested() and _shards(cfg) and int(os.environ.get("WORLD_SIZE", "1")) > 1):
        return
    del os.environ[USE_CPU_VARIABLE]
    os.environ["DS_ACCELERATOR"] = "cpu"  # before DeepSpeed is imported
    import torch
    import transformers.training_args
    from accelerate import DistributedType, PartialState
    from accelerate.parallelism_config import ParallelismConfig

    def set_device(state: Any) -> None:
        state.device = torch.device("cpu")

    mesh = ParallelismConfig.build_device_mesh
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_NPU)
    PartialState.set_device = set_device
    ParallelismConfig.build_device_mesh = lambda config, _: mesh(config, "cpu")
    # bfloat16 is refused without a GPU otherwise.
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True
    if cfg.get("deepspeed"):
        from deepspeed import DeepSpeedEngine

        # gloo gathers in place, which autograd refuses for float32 partitions.
        DeepSpeedEngine.step = torch.no_grad()(DeepSpeedEngine.step)


def training_arguments(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """`use_cpu` where there is no accelerator; bf16 is refused otherwise."""
    import torch

    return {} if torch.accelerator.is_available() or _shards(cfg) else {"use_cpu": True}


def _shards(cfg: Mapping[str, Any]) -> bool:
    return bool(cfg.get("deepspeed") or cfg.get("fsdp") or cfg.get("fsdp_config"))
