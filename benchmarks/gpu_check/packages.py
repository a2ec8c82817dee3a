"""What the checks need beside what `make env` installs, and what this machine has."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
from typing import Any

from benchmarks.gpu_check.checks import Skipped

# Module -> (what it is for, how to install it). docs/gpu.md has the same table; a test compares.
PACKAGES = {
    "axolotl": ("the trainings, and the teacher", "`make env`"),
    "bitsandbytes": ("nf4 (QLoRA)", "`make env`, axolotl brings it"),
    "liger_kernel": ("Liger's kernels", "`make env`, axolotl brings it"),
    "flash_attn": (
        "flash attention 2",
        "`pip install flash-attn==2.8.3 --no-build-isolation`, built for the torch that is there",
    ),
    "cut_cross_entropy": (
        "cut cross entropy",
        "axolotl's fork, by the command in its `integrations/cut_cross_entropy/README.md`",
    ),
    "vllm": (
        "the engine `vllm`",
        "`pip install vllm`, in an environment of its own where it wants another torch",
    ),
}
# Distributions whose versions decide what a result is worth.
TOLD = (
    "torch", "triton", "transformers", "peft", "accelerate", "axolotl", "bitsandbytes",
    "liger-kernel", "flash-attn", "cut-cross-entropy", "kernels", "xformers", "vllm",
    "axolotl-genpi",
)  # fmt: skip


def need(module: str) -> None:
    """
    Raises:
        Skipped: the module is not installed; names the cure.
    """
    if importlib.util.find_spec(module) is None:
        raise Skipped(f"{module} is not installed: {PACKAGES[module][1]}")


def need_gpu(gpu: bool, what: str) -> None:
    """
    Raises:
        Skipped: there is no GPU.
    """
    if not gpu:
        raise Skipped(f"{what} needs a GPU")


def need_capability(least: tuple[int, int], what: str) -> None:
    """
    Args:
        least: compute capability.

    Raises:
        Skipped: the card is older.
    """
    import torch

    found = torch.cuda.get_device_capability()
    if found < least:
        raise Skipped(
            f"{what} needs compute capability {least[0]}.{least[1]}, "
            f"this card has {found[0]}.{found[1]}"
        )


def need_compiler() -> None:
    """
    Raises:
        Skipped: no C compiler, which Triton builds its launchers with.
    """
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        raise Skipped("there is no C compiler, which Triton needs: install gcc")


def versions() -> dict[str, str]:
    """The installed versions of `TOLD`, and Python's."""
    found = {"python": platform.python_version()}
    for name in TOLD:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def card() -> dict[str, Any]:
    """The GPU: name, compute capability, memory in GiB, CUDA of torch, driver; {} without one."""
    import torch

    if not torch.cuda.is_available():
        return {}
    about = torch.cuda.get_device_properties(0)
    return {
        "name": about.name,
        "capability": f"{about.major}.{about.minor}",
        "memory_gib": round(about.total_memory / 2**30, 1),
        "cuda": torch.version.cuda or "",
        "driver": driver(),
    }


def driver() -> str:
    """The driver's version as nvidia-smi tells it; empty where it doesn't."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""
