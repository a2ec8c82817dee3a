"""The plugin as an installed package: axolotl 0.21 loads it for every YAML, 0.19 where listed."""

from __future__ import annotations

import json
from importlib.metadata import entry_points

import pytest
import yaml
from axolotl.integrations import base
from axolotl.utils.dict import DictDefault

from genpi_plugin import GenPIPlugin
from genpi_plugin.strategy import load
from genpi_plugin.training.manifest import MANIFEST_FILE, read_manifest
from tests.tiny import make_tokenizer, save_tiny

NAME = "genpi_plugin.GenPIPlugin"
LOADS_INSTALLED = hasattr(base, "get_builtin_plugins")


def test_the_package_offers_its_plugin_to_axolotl():
    [point] = [one for one in entry_points(group="axolotl.plugins") if one.name == "genpi"]
    assert point.value.replace(":", ".") == NAME
    assert point.load() is GenPIPlugin


def test_without_its_block_every_hook_leaves_things_as_they_are():
    """What is registered for every YAML must change nothing of those that are not ours."""
    cfg = DictDefault({"base_model": "tiny", "datasets": [{"path": "x", "type": "alpaca"}]})
    before, plugin = dict(cfg), GenPIPlugin()
    plugin.register(cfg)
    assert plugin.load_datasets(cfg) is None
    for hook in ("pre_model_load", "post_train_unload", "get_trainer_cls", "create_optimizer"):
        given = [cfg, None] if hook == "create_optimizer" else [cfg]
        assert getattr(plugin, hook)(*given) is None
    for hook in ("post_model_build", "pre_lora_load", "post_model_load", "post_trainer_create"):
        assert getattr(plugin, hook)(cfg, None) is None  # None: nothing of a model is touched
    assert plugin.get_collator_cls_and_kwargs(cfg) is None
    assert not plugin.get_training_args(cfg)
    assert not plugin.add_callbacks_post_trainer(cfg, None)
    assert dict(cfg) == before


@pytest.mark.parametrize(
    ("plugins", "installed"), [(["genpi_plugin:GenPIPlugin"], ()), (None, (NAME,))]
)
def test_the_dataset_type_finds_its_plugin_listed_or_installed(
    tmp_path, monkeypatch, plugins, installed
):
    monkeypatch.setattr(base, "get_builtin_plugins", lambda: installed, raising=False)
    cfg = {"plugins": plugins, "genpi": {}, "sequence_len": 512,
           "dataset_prepared_path": str(tmp_path)}  # fmt: skip
    assert load(make_tokenizer(), cfg, {"path": "data/shop"}).sequence_len == 512


@pytest.mark.skipif(not LOADS_INSTALLED, reason="before 0.21 axolotl loads what a YAML lists")
def test_a_yaml_need_not_list_the_plugin(tmp_path):
    from axolotl.cli.config import load_cfg

    save_tiny(tmp_path / "tiny")
    content = {
        "base_model": str(tmp_path / "tiny"), "adapter": "lora", "genpi": {"sft_weight": 1},
        "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True, "sequence_len": 512,
        "datasets": [{"path": "data/shop", "type": "genpi_plugin.strategy"}],
        "dataset_prepared_path": str(tmp_path / "prepared"), "output_dir": str(tmp_path / "out"),
        "micro_batch_size": 1, "gradient_accumulation_steps": 1, "learning_rate": 1e-3,
        "num_epochs": 1,
    }  # fmt: skip
    (tmp_path / "own.yml").write_text(yaml.safe_dump(content))
    cfg = load_cfg(str(tmp_path / "own.yml"))
    assert cfg.genpi["sft_weight"] == 1
    assert "genpi-" in cfg.dataset_prepared_path  # ours decided where prepared data goes


def test_a_merged_model_says_what_is_in_its_weights(tmp_path):
    adapter, merged = tmp_path / "adapter", tmp_path / "adapter" / "merged"
    merged.mkdir(parents=True)
    GenPIPlugin().post_lora_merge(DictDefault({}), str(adapter), str(merged))
    assert not (merged / MANIFEST_FILE).exists()  # an adapter that is not ours
    (adapter / MANIFEST_FILE).write_text(json.dumps({"prompts": [{"prompt_id": "shop"}]}))
    GenPIPlugin().post_lora_merge(DictDefault({}), str(adapter), str(merged))
    assert read_manifest(merged) == {"prompts": [{"prompt_id": "shop"}], "merged": str(adapter)}
