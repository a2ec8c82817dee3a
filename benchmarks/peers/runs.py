"""Runs of contestants, each done once: train in a process of its own, then measure its adapters."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from benchmarks.folders import keep, run
from benchmarks.peers.contestants import ANY_PROCESSOR, Contestant, Recipe, config

# Of which the tables show nothing.
UNSHOWN = "turns,recitation,clauses,drift,disclosure,cost"
CONFIG, DONE, REPORT = "config.yml", "done.json", "report"
PACKAGES = ("axolotl", "trl", "transformers", "peft", "torch")


@dataclass(frozen=True)
class Measuring:
    """How every adapter is measured.

    Attributes:
        data: the dataset's folder, whose prompt is the teacher's.
        inputs: a file of held-out ones.
        limit: how many of them; None for all.
        cache: where the evaluation keeps what it has measured, one for all runs.
        bfloat16: as in `Recipe`.
        skip: sections that are left out.
    """

    model: str
    data: Path
    inputs: Path
    answer_tokens: int
    limit: int | None
    cache: Path
    bfloat16: bool = False
    skip: str = UNSHOWN


def train(contestant: Contestant, recipe: Recipe, seed: int, folder: Path) -> None:
    """Train, unless it is done; a run that was stopped begins again.

    Raises:
        SystemExit: the folder holds a run of other settings.
        CalledProcessError: it failed.
    """
    path = folder / CONFIG
    keep(path, yaml.safe_dump(config(contestant, recipe, seed, folder), sort_keys=False))
    if (folder / DONE).is_file():
        return
    for name in ("moments", "prepared", "adapter"):
        shutil.rmtree(folder / name, ignore_errors=True)
    started = {"PEERS_STARTED": str(time.time())}
    if contestant.trainer in ("genpi", "sft"):
        run("axolotl", "train", path, "--launcher", "python", env=started)
    else:
        run("python", "-m", "benchmarks.peers.trl", path, env=started)
    about = {"cpus": os.cpu_count(), "machine": platform.machine(),
             "threads": os.environ.get("OMP_NUM_THREADS"),
             "versions": {name: version(name) for name in PACKAGES}}  # fmt: skip
    (folder / DONE).write_text(json.dumps(about, indent=1), encoding="utf-8")


def measure(folder: Path, how: Measuring) -> None:
    """Evaluate a run's adapters, unless it is done.

    Raises:
        SystemExit: they were measured otherwise.
    """
    path = folder / "evaluate.yml"
    keep(path, yaml.safe_dump(_evaluation(folder, how), sort_keys=False))
    if (folder / REPORT / "metrics.json").is_file():
        return
    adapters = sorted((folder / "moments").iterdir())
    each = [part for adapter in adapters for part in ("--adapter", adapter)]
    limit = ["--limit", how.limit] if how.limit else []
    run("axolotl", "genpi-eval", path, *each, "--inputs", how.inputs, *limit, "--skip", how.skip,
        "--max-new-tokens", how.answer_tokens, "--output", folder / REPORT)  # fmt: skip


def _evaluation(folder: Path, how: Measuring) -> dict[str, Any]:
    return {
        "base_model": how.model,
        "plugins": ["genpi_plugin.GenPIPlugin"],
        "datasets": [{"path": str(how.data), "type": "genpi_plugin.strategy", "split": "train"}],
        "genpi": {},
        "dataset_prepared_path": str(how.cache),
        "output_dir": str(folder / "adapter"),
        "sequence_len": 2048,  # an evaluation reads all, whatever this is
        "adapter": "lora",
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_target_linear": True,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3,
        "num_epochs": 1,
        **ANY_PROCESSOR,
        "bf16": how.bfloat16,
    }
