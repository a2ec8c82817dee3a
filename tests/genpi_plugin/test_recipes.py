"""Every shipped recipe loads through axolotl's own validation, with the settings it promises."""

from __future__ import annotations

import os
from unittest import mock

import pytest
import yaml

from tests import ROOT

FOLDER = ROOT / "recipes"
FSDP2 = FOLDER / "fsdp2.yml"
RECIPES = sorted(FOLDER.glob("genpi_*.yml"))
OFFICIAL = {"webshop": (0.7, 0.5), "os": (0.7, 1.0), "mind2web": (0.3, 0.5), "kg": (0.7, 0.5)}


def test_there_are_recipes():
    assert {path.stem for path in RECIPES} >= {"genpi_demo", *(f"genpi_{t}" for t in OFFICIAL)}


@pytest.fixture
def model(tmp_path, monkeypatch) -> str:
    """A folder with nothing but the config of a model, in an empty working directory."""
    from transformers import LlamaConfig

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AXOLOTL_DO_NOT_TRACK", "1")
    LlamaConfig().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_config_that_axolotl_takes(path, model):
    from axolotl.cli.config import load_cfg

    cfg = load_cfg(str(path), base_model=model)
    assert cfg.genpi["on_overflow"] == "error"
    assert cfg.plugins == ["genpi_plugin.GenPIPlugin"]
    assert "genpi-" in cfg.dataset_prepared_path
    if cfg.gradient_checkpointing:
        assert cfg.gradient_checkpointing_kwargs["use_reentrant"] is False
    for key in yaml.safe_load(path.read_text()):
        assert cfg.get(key) is not None, f"axolotl dropped `{key}`"


def test_a_recipe_and_the_fsdp2_file_are_a_config(model, tmp_path):
    from axolotl.cli.config import load_cfg

    path = tmp_path / "recipe.yml"
    path.write_text((FOLDER / "genpi_webshop.yml").read_text() + FSDP2.read_text())
    with mock.patch.dict(os.environ):  # axolotl tells accelerate through it
        cfg = load_cfg(str(path), base_model=model, adapter="lora", load_in_4bit=False)
    assert cfg.fsdp_config.items() >= yaml.safe_load(FSDP2.read_text())["fsdp_config"].items()
    assert cfg.genpi["distill_weight"] == 1.0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_begins_with_purpose_prerequisites_and_commands(path):
    head = path.read_text().split("\nbase_model:")[0]
    for wanted in ("# Purpose:", "# Prerequisites:", f"axolotl train recipes/{path.name}",
                   f"axolotl genpi-eval recipes/{path.name}", "python -m synth run"):  # fmt: skip
        assert wanted in head


@pytest.mark.parametrize("task", sorted(OFFICIAL))
def test_a_recipe_has_the_official_settings(task):
    text = (FOLDER / f"genpi_{task}.yml").read_text()
    config = yaml.safe_load(text)
    weight, norm = OFFICIAL[task]
    assert config["genpi"] == {}
    said = text.partition("#   genpi: ")[2].partition("}")[0].replace("\n#", "") + "}"
    paper = {"prompt_generation_share": 1, "prompt_generation_piece": None, "distill_weight": 0}
    assert yaml.safe_load(said) == {"sft_weight": weight, **paper}
    assert config["max_grad_norm"] == norm
    expected = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "num_epochs": 10,
                "micro_batch_size": 2, "gradient_accumulation_steps": 16, "adapter": "qlora",
                "lr_scheduler": "cosine", "warmup_ratio": 0.03}  # fmt: skip
    assert {key: config[key] for key in expected} == expected
    assert float(config["learning_rate"]) == 1e-4
