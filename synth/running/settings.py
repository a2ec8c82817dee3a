"""With what the dataset of a task is made: what the command line says beside the task."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from genpi_plugin.data.inputs.given import Reading
from synth.engines.models import ModelSpec
from synth.progress.prices import Prices
from synth.running.budget import SpendingLimits
from synth.running.limits import FAILURE_RATE


@dataclass(frozen=True)
class RunSettings:
    """What the command line says beside the task."""

    target: ModelSpec
    generator: ModelSpec
    seed: int = 0
    inputs_file: Path | None = None
    concurrency: int = 32
    batch_size: int | None = None
    command: str = ""
    max_failure_rate: float = FAILURE_RATE
    ray: str | None = None
    ray_workers: int | None = None
    prices: Prices = field(default_factory=Prices)
    limits: SpendingLimits = field(default_factory=SpendingLimits)
    input_timeout: float | None = None
    reading: Reading = field(default_factory=Reading)
