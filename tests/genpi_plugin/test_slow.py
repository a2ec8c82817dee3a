"""Long proofs: two processes train as one does, and the demo keeps what its README promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests import ROOT
from tests.genpi_plugin.on_policy.vllm_server import serving
from tests.genpi_plugin.test_axolotl import CONFIG, adapter, axolotl, losses, place, write_config
from tests.genpi_plugin.told_made import add_told

__all__ = ["place"]  # the fixture
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
UNDISTILLED = {"sft_weight": 0.6, "distill_weight": 0, "prompt_generation_share": 0.5}
# An odd number of requests to keep: the processes do not have equally many.
DISTILLED = {**UNDISTILLED, "distill_weight": 0.5, "keep_weight": 0.5, "keep_rows": 3,
             "keep_tokens": 8}  # fmt: skip
ON_POLICY = {
    **DISTILLED, "on_policy": {"epochs": 1, "refresh": 2, "max_new_tokens": 12, "share": 0.7}
}  # fmt: skip
TOLD = {"sft_weight": 0.6, "distill_weight": 0.25, "distill_from": "rows",
        "prompt_generation_share": 0.5}  # fmt: skip
# Four rows to evaluate on: one process of two has none of them.
BATCHES = {"micro_batch_size": 4, "eval_strategy": "steps", "eval_steps": 2}
PLUGINS = ["tests.genpi_plugin.cpu_processes.CpuProcessesPlugin", *CONFIG["plugins"]]
# Settings, the YAML's addition, and what accelerate must call it: told to use CPUs it leaves
# DeepSpeed and FSDP out without a word.
WAYS = {
    "ddp": (DISTILLED, {}, "MULTI_CPU"),
    "on_policy": (ON_POLICY, {}, "MULTI_CPU"),
    "zero2": (DISTILLED, {"deepspeed": str(ROOT / "recipes" / "zero2.json")}, "DEEPSPEED"),
    "zero3": (UNDISTILLED, {"deepspeed": str(ROOT / "recipes" / "zero3.json")}, "DEEPSPEED"),
    "fsdp2": (UNDISTILLED, yaml.safe_load((ROOT / "recipes" / "fsdp2.yml").read_text()), "FSDP"),
    "told_ddp": (TOLD, {}, "MULTI_CPU"),
    "told_zero3": (TOLD, {"deepspeed": str(ROOT / "recipes" / "zero3.json")}, "DEEPSPEED"),
    "told_fsdp2": (TOLD, yaml.safe_load((ROOT / "recipes" / "fsdp2.yml").read_text()), "FSDP"),
}


def data_of(genpi):
    """The YAML's data: told rows for what is learnt from them."""
    if genpi is not TOLD:
        return {}
    entry = {"path": "data/told", "type": "genpi_plugin.strategy"}
    return {
        "datasets": [{**entry, "split": "train"}],
        "test_datasets": [{**entry, "split": "test"}],
    }


@pytest.fixture(scope="module")
def alone(place):
    """Losses and weights of one process, with and without distillation, on policy, and from told
    rows.

    The whole training split is in a step, so that order does not matter.
    """
    found = {}
    add_told(place)
    for name, genpi in (
        ("distilled", DISTILLED), ("undistilled", UNDISTILLED), ("alone_on_policy", ON_POLICY),
        ("told", TOLD),
    ):  # fmt: skip
        one = write_config(
            place, name, gradient_accumulation_steps=4, genpi=genpi, **BATCHES, **data_of(genpi)
        )
        text = axolotl(place, "train", one, "--launcher", "python")
        found[json.dumps(genpi)] = losses(text), adapter(place / "out" / name)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one_does(place, alone, monkeypatch, way):
    """Over gloo: the same rows a step, whoever computes them, give the same curve."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the plugin below
    genpi, changes, kind = WAYS[way]
    two = write_config(
        place, way, gradient_accumulation_steps=2, genpi=genpi, plugins=PLUGINS, **BATCHES,
        **changes, **data_of(genpi),
    )  # fmt: skip
    text = axolotl(place, "train", two, "--launcher", "torchrun", "--", "--nproc_per_node=2")
    assert f"2 processes, {kind}" in text
    expected, weights = alone[json.dumps(genpi)]
    found = losses(text)
    assert len(found) == len(expected) > 3
    assert any("eval_loss" in entry for entry in found)
    for left, right in zip(expected, found, strict=True):
        for name in left.keys() & {"loss", "divergence", "prompt_generation_loss", "eval_loss",
                                   "behaviour_tokens", "own_tokens", "own_divergence",
                                   "keep_divergence"}:  # fmt: skip
            assert right[name] == pytest.approx(left[name], rel=1e-3), name
    # Adam moves a weight by up to the learning rate, 1e-2, whatever its gradient: where that is
    # next to nothing, its rounding shows. A hundredth of a step is allowed.
    torch.testing.assert_close(adapter(place / "out" / way), weights, rtol=0, atol=1e-4)


def test_two_processes_with_a_server_train_as_one_without_does(place, monkeypatch):
    """Each asks a vLLM server for its own rows' answers, with the weights that the first loaded."""
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    likeliest = {**ON_POLICY["on_policy"], "temperature": 0}
    genpi = {**ON_POLICY, "on_policy": likeliest}
    one = write_config(place, "alone", gradient_accumulation_steps=4, genpi=genpi, **BATCHES)
    expected = losses(axolotl(place, "train", one, "--launcher", "python"))
    with serving() as server:
        server.model = AutoModelForCausalLM.from_pretrained(place / "tiny").eval()
        genpi["on_policy"] = {**likeliest, "server": server.url}
        two = write_config(
            place, "served", gradient_accumulation_steps=2, genpi=genpi, plugins=PLUGINS, **BATCHES
        )
        text = axolotl(place, "train", two, "--launcher", "torchrun", "--", "--nproc_per_node=2")
    assert "2 processes, MULTI_CPU" in text
    found = losses(text)
    assert len(found) == len(expected) > 3
    assert any(entry.get("own_tokens") for entry in found)
    for left, right in zip(expected, found, strict=True):
        for name in left.keys() & {"loss", "own_tokens", "own_divergence"}:
            assert right[name] == pytest.approx(left[name], rel=1e-3), name
    torch.testing.assert_close(
        adapter(place / "out" / "served"), adapter(place / "out" / "alone"), rtol=0, atol=1e-4
    )
    assert server.loaded == {}


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
