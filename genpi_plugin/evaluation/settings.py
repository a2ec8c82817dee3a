"""The command line's settings; `docs/evaluation.md` explains each option."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from genpi_plugin.data.inputs.given import Reading
from genpi_plugin.evaluation.gate import Requirement
from genpi_plugin.evaluation.measuring.context import Options


@dataclass(frozen=True)
class Settings:
    """One evaluation."""

    config: Path
    base_model: str | None = None
    adapters: tuple[Path, ...] = ()
    inputs_file: Path | None = None
    reading: Reading = field(default_factory=Reading)
    also_prompts: tuple[Path, ...] = ()
    with_checkpoints: bool = False
    limit: int | None = None
    action_pattern: str | None = None
    scores_file: Path | None = None
    max_new_tokens: int = 256
    batch_size: int = 16
    seed: int = 0
    skip: tuple[str, ...] = ()
    output: Path | None = None
    options: Options = field(default_factory=Options)
    requirements: tuple[Requirement, ...] = ()
    command: str = ""
