"""Fixtures of the evaluation's tests."""

from __future__ import annotations

import contextlib
import gc

import pytest
import yaml

from genpi_plugin.evaluation.measuring import systems
from tests.genpi_plugin.evaluation.run_made import save_adapter, save_rows
from tests.genpi_plugin.evaluation.subjects_made import make_subjects
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    """The current folder, with a model, data with a test split, a config and adapters."""
    folder = tmp_path_factory.mktemp("evaluation")
    save_tiny(folder / "tiny")
    save_tiny(folder / "large", hidden_size=64)
    save_rows(folder, "train", range(6))
    save_rows(folder, "test", range(100, 104), turns=True)
    config = {
        "base_model": "tiny",
        "plugins": ["genpi_plugin.GenPIPlugin"],
        "genpi": {},
        "datasets": [{"path": "data", "type": "genpi_plugin.strategy", "split": "train"}],
        "test_datasets": [{"path": "data", "type": "genpi_plugin.strategy", "split": "test"}],
        "output_dir": "out",
        "sequence_len": 2048,
        "adapter": "lora",
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_target_linear": True,
        "lora_mlp_kernel": False,
        "lora_qkv_kernel": False,
        "lora_o_kernel": False,
        "attn_implementation": "sdpa",
        "bf16": False,
        "tf32": False,
        "optimizer": "adamw_torch",
        "learning_rate": 1e-3,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "max_steps": 1,
    }
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    task = {"name": "shop", "action_pattern": r"\w+", "scores": {"long": {"pattern": "....."}}}
    (folder / "data" / "synth.yaml").write_text(yaml.safe_dump({"task": task}))
    with contextlib.chdir(folder):
        for seed, (name, base) in enumerate(
            [("zeros", "tiny"), ("a", "tiny"), ("b", "tiny"), ("other", "large")]
        ):
            save_adapter(base, f"adapters/{name}", seed=seed, zeros=name == "zeros")
        (folder / "short.md").write_text("You are a shop assistant.")
        gc.freeze()  # axolotl collects garbage at each load: most of a test's time
        yield folder
        gc.unfreeze()


@pytest.fixture
def no_model(monkeypatch):
    """Fails the test when a model is loaded."""

    def load(cfg, adapter):
        raise AssertionError("the model was loaded")

    return lambda: monkeypatch.setattr(systems, "load_model", load)


@pytest.fixture(scope="module")
def subjects():
    """Teacher, floor and student of one tiny model without an adapter."""
    return make_subjects()
