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


ZERO_2 = {
    "zero_optimization": {"stage": 2},
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "train_batch_size": "auto",
    "gradient_clipping": "auto",
}


@pytest.fixture(scope="module")
def start(place) -> str:
    """An adapter to go on from: a new one's random weights depend on the launcher."""
    axolotl(place, "train", write_config(place, "start", max_steps=1), "--launcher", "python")
    return "out/start"


@pytest.fixture(scope="module")
def alone(place, start):
    """Losses of one process, the whole training split in a step, so that order does not matter."""
    one = write_config(place, "one", gradient_accumulation_steps=4, **together(start))
    return losses(axolotl(place, "train", one, "--launcher", "python"))


def together(start: str) -> dict:
    genpi = {"sft_weight": 0.6, "distill_weight": 0.5, "prompt_generation_share": 0.5}
    return {"micro_batch_size": 4, "lora_model_dir": start, "genpi": genpi}


@pytest.mark.parametrize("deepspeed", [None, ZERO_2], ids=["ddp", "zero2"])
def test_two_processes_train_as_one_does(place, start, alone, monkeypatch, deepspeed):
    """Over gloo: the same rows a step, whoever computes them, give the same curve."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    changes = together(start)
    if deepspeed:
        (place / "zero2.json").write_text(json.dumps(deepspeed))
        changes["deepspeed"] = "zero2.json"
    name = f"two_{'zero2' if deepspeed else 'ddp'}"
    two = write_config(place, name, gradient_accumulation_steps=2, **changes)
    text = axolotl(place, "train", two, "--launcher", "torchrun", "--", "--nproc_per_node=2")
    found = losses(text)
    assert len(found) == len(alone) > 3
    for left, right in zip(alone, found, strict=True):
        for name in left.keys() & {"loss", "divergence", "prompt_generation_loss",
                                   "behaviour_tokens", "eval_loss"}:  # fmt: skip
            assert right[name] == pytest.approx(left[name], rel=1e-3), name


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
