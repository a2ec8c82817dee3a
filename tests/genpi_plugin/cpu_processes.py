"""DeepSpeed and FSDP2 over gloo, on CPUs: an axolotl plugin for the tests of several processes.

Asked for CPUs, accelerate (1.13) silently ignores both and trains with DDP. So this plugin replaces
functions of accelerate and DeepSpeed in the process that it is loaded into, which is nothing to do
to a user. Listed before GenPI's:

    plugins: [tests.genpi_plugin.cpu_processes.CpuProcessesPlugin, genpi_plugin.GenPIPlugin]

and run with the repository on PYTHONPATH and ACCELERATE_USE_CPU=true.
"""

from __future__ import annotations

import os
from typing import Any

from axolotl.integrations.base import BasePlugin


class CpuProcessesPlugin(BasePlugin):
    def register(self, cfg: Any) -> None:
        """Before axolotl sets up its processes."""
        if cfg.get("deepspeed") or cfg.get("fsdp_config"):
            present_cpus_as_accelerators(bool(cfg.get("deepspeed")))

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Before the model loads, which axolotl would map to a device number."""
        cfg["device_map"] = {"": "cpu"}


def present_cpus_as_accelerators(deepspeed: bool) -> None:
    """Unset accelerate's variable, and present the CPUs as an accelerator that it knows."""
    del os.environ["ACCELERATE_USE_CPU"]
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
    if deepspeed:
        from deepspeed import DeepSpeedEngine

        # gloo gathers in place, which autograd refuses for float32 partitions.
        DeepSpeedEngine.step = torch.no_grad()(DeepSpeedEngine.step)
