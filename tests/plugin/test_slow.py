"""Long proofs: two processes train as one does, and the demo keeps what its README promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .test_cli import axolotl, losses, place, write_config

__all__ = ["place"]  # the fixture
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]


def test_two_processes_train_as_one_does(place, monkeypatch):
    """DDP over gloo: the same rows a step, whoever computes them, give the same curve."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # A new adapter's random weights depend on the launcher: both go on from the same one.
    start = write_config(place, "start", max_steps=1)
    axolotl(place, "train", start, "--launcher", "python")
    # The whole training split is one step, so that the order of rows does not matter.
    both = {"micro_batch_size": 4, "lora_model_dir": "out/start"}
    one = write_config(place, "one", gradient_accumulation_steps=4, **both)
    two = write_config(place, "two", gradient_accumulation_steps=2, **both)
    alone = losses(axolotl(place, "train", one, "--launcher", "python"))
    together = losses(
        axolotl(place, "train", two, "--launcher", "torchrun", "--", "--nproc_per_node=2")
    )
    for left, right in zip(alone, together, strict=True):
        assert left["behaviour_tokens"] == right["behaviour_tokens"]
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-3)
        assert left["prompt_generation_loss"] == pytest.approx(
            right["prompt_generation_loss"], rel=1e-3
        )


def test_the_demo_keeps_its_promise(tmp_path):
    """The three commands of `make demo`, on the real model, and the figures they must reach."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    binaries = Path(sys.executable).parent
    env = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "PATH": f"{binaries}:{os.environ['PATH']}"}
    recipe = str(ROOT / "recipes" / "genpi_demo.yml")
    commands = [
        [sys.executable, "-m", "synth", "run", "demo", "--model", "models/smollm2", "-n", "120",
         "-o", "data/demo"],
        ["axolotl", "train", recipe, "--launcher", "python"],
        ["axolotl", "genpi-eval", recipe],
    ]  # fmt: skip
    for command in commands:
        subprocess.run(command, cwd=tmp_path, env=env, check=True)
    metrics = json.loads((tmp_path / "outputs/genpi_demo/report/metrics.json").read_text())
    valid = {name: system["valid"]["value"] for name, system in metrics["systems"].items()}
    assert valid["student"] >= 0.9 * valid["teacher"] > 0
    assert metrics["internalization"]["value"] >= 0.5
    assert metrics["recitation"]["chrf"]["value"] >= 60
