"""The device a model runs on: its dtype, and its memory."""

from __future__ import annotations

from pathlib import Path

import torch

from synth.errors import EngineError


def device_type() -> str:
    """Where models are loaded: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_dtype(name: str) -> torch.dtype:
    """The dtype of a name in torch; "auto" is bfloat16 where the hardware has it.

    Raises:
        EngineError: torch has no such dtype.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return (
                torch.bfloat16
                if torch.cuda.is_bf16_supported(including_emulation=False)
                else torch.float16
            )
        cpu = Path("/proc/cpuinfo")
        fast = cpu.exists() and "avx512_bf16" in cpu.read_text(encoding="utf-8")
        return torch.bfloat16 if fast else torch.float32
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise EngineError(
            f"There is no dtype {name!r} for a model.", "Use auto, bfloat16, float16 or float32."
        )
    return dtype


def free_bytes(device: torch.device) -> int:
    """Memory that is left on a device; without bound where the system does not say."""
    if device.type == "cuda":
        # What the allocator holds and does not use is free, too.
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + kept
    return _system_memory("MemAvailable")


def total_bytes(device: torch.device) -> int:
    """Memory that a device has; without bound where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info()[1]
    return _system_memory("MemTotal")


def _system_memory(name: str) -> int:
    """A line of /proc/meminfo in bytes; without bound where there is none."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text(encoding="utf-8").splitlines() if meminfo.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")]
    return found[0] if found else 2**62
