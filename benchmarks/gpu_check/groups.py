"""The groups of checks, in the order in which they run, each in a process of its own.

A group's process begins without what another has loaded, patched or left on the card, and where it
dies (a kernel's illegal access ends a process's use of the card) the next begins with the check
after that.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from benchmarks.gpu_check.checks import Check, Machine

# Name -> where the function lies that gives its checks.
GROUPS = {
    "exactness": "exactness:checks",
    "teacher": "teaching:checks",
    "training": "trainings:checks",
    "memory": "memory:checks",
    "speed": "speed:checks",
    "engine": "engines:checks",
    "vllm": "engines:vllm_checks",
}


def checks_of(group: str, machine: Machine) -> list[Check]:
    """A group's checks, in order, in a process that has no TF32 in float32."""
    import torch

    torch.set_float32_matmul_precision("highest")
    module, _, name = GROUPS[group].partition(":")
    give: Callable[[Machine], list[Check]] = getattr(
        importlib.import_module(f"benchmarks.gpu_check.{module}"), name
    )
    return give(machine)
