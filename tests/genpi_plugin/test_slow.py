"""Long proofs: two processes train as one does, and the demo keeps what its README promises."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

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
    **DISTILLED,
    "on_policy": {"epochs": 1, "refresh": 2, "max_new_tokens": 12, "share": 0.7, "temperature": 1},
}
TOLD = {"sft_weight": 0.6, "distill_weight": 0.25, "distill_from": "rows",
        "prompt_generation_share": 0.5, "keep_weight": 0}  # fmt: skip
# Without requests to keep, which need the whole model on each process. The whole vocabulary: of the
# likeliest tokens, rounding may choose others.
READ = {**UNDISTILLED, "distill_weight": 0.5, "distill_top_k": None, "keep_weight": 0}
# Every weight is parted: the recipe leaves those of less than 100,000 numbers whole, and the tiny
# model has no others.
ZERO3 = json.loads((ROOT / "recipes" / "zero3.json").read_text())
ZERO3["zero_optimization"]["stage3_param_persistence_threshold"] = 0
FSDP2 = yaml.safe_load((ROOT / "recipes" / "fsdp2.yml").read_text())
PLUGINS = ["tests.genpi_plugin.cpu_processes.CpuProcessesPlugin", *CONFIG["plugins"]]
SETTINGS = {"distilled": DISTILLED, "undistilled": UNDISTILLED, "on_policy": ON_POLICY,
            "read": READ, "told": TOLD}  # fmt: skip
# Settings, the YAML's addition, and what accelerate must call it: told to use CPUs it leaves
# DeepSpeed and FSDP out without a word.
WAYS = {
    "ddp": ("distilled", {}, "MULTI_CPU"),
    "on_policy": ("on_policy", {}, "MULTI_CPU"),
    "zero2": ("distilled", {"deepspeed": str(ROOT / "recipes" / "zero2.json")}, "DEEPSPEED"),
    "zero3": ("undistilled", {"deepspeed": ZERO3}, "DEEPSPEED"),
    "fsdp2": ("undistilled", FSDP2, "FSDP"),
    "read_zero3": ("read", {"deepspeed": ZERO3}, "DEEPSPEED"),
    "read_fsdp2": ("read", FSDP2, "FSDP"),
    "told_ddp": ("told", {}, "MULTI_CPU"),
    "told_zero3": ("told", {"deepspeed": ZERO3}, "DEEPSPEED"),
    "told_fsdp2": ("told", FSDP2, "FSDP"),
}


def config_of(place, name, settings, processes, **changes):
    """The YAML of a run with the whole training split in each step, so that order does not matter.

    Four rows to evaluate on: one process of two has none of them. What the model in training reads
    has a folder of its own for each run, and takes three batches: one process has none in the end.
    """
    genpi = SETTINGS[settings]
    rows = 4
    if genpi is READ:
        rows, changes = 2, {"dataset_prepared_path": f"prepared/{name}", "sequence_len": 512,
                            **changes}  # fmt: skip
    if genpi is TOLD:
        for key, split in (("datasets", "train"), ("test_datasets", "test")):
            entry = {"path": "data/told", "type": "genpi_plugin.strategy", "split": split}
            changes = {**changes, key: [entry]}
    return write_config(
        place, name, micro_batch_size=rows, gradient_accumulation_steps=16 // rows // processes,
        eval_strategy="steps", eval_steps=2, **{"genpi": genpi, **changes},
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(place):
    """Losses and weights of one process with some settings."""
    add_told(place)

    @functools.cache
    def trained(settings):
        name = f"alone_{settings}"
        one = config_of(place, name, settings, 1)
        text = axolotl(place, "train", one, "--launcher", "python")
        return losses(text), adapter(place / "out" / name)

    return trained


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one_does(place, alone, monkeypatch, way):
    """Over gloo: the same rows a step, whoever computes them, give the same curve."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the plugin below
    settings, changes, kind = WAYS[way]
    two = config_of(place, way, settings, 2, plugins=PLUGINS, **changes)
    text = axolotl(place, "train", two, "--launcher", "torchrun", "--", "--nproc_per_node=2")
    assert f"2 processes, {kind}" in text
    expected, weights = alone(settings)
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
    if settings == "read":
        assert "the teacher reads 20 of 20 rows" in text
        left, right = (stored(place / "prepared" / name) for name in ("alone_read", way))
        assert left.keys() == right.keys()
        for name, targets in left.items():
            torch.testing.assert_close(right[name], targets, rtol=0, atol=1e-4)


def stored(folder):
    """The teacher's log-probabilities of all tokens by file, and the base model's largest."""
    found = {}
    for path in folder.glob("genpi-teacher-*/**/*.safetensors"):
        kept = load_file(path)
        logprobs, ids = kept["logprobs"], kept["token_ids"].long()
        base = path.name == "base-model.safetensors"
        name = str(path.relative_to(folder))
        found[name] = logprobs if base else torch.empty_like(logprobs).scatter(-1, ids, logprobs)
    assert len(found) == 21
    return found


def test_two_processes_with_a_server_train_as_one_without_does(place, monkeypatch):
    """Each asks a vLLM server for its own rows' answers, with the weights that the first loaded."""
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    likeliest = {**ON_POLICY["on_policy"], "temperature": 0}
    genpi = {**ON_POLICY, "on_policy": likeliest}
    one = config_of(place, "alone", "on_policy", 1, genpi=genpi)
    expected = losses(axolotl(place, "train", one, "--launcher", "python"))
    with serving() as server:
        server.model = AutoModelForCausalLM.from_pretrained(place / "tiny").eval()
        genpi["on_policy"] = {**likeliest, "server": server.url}
        two = config_of(place, "served", "on_policy", 2, genpi=genpi, plugins=PLUGINS)
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
