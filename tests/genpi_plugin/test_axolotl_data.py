"""`axolotl train` on other data and settings: the official schema, mistakes, no `genpi:` block."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.genpi_plugin.test_axolotl import CONFIG, axolotl, losses, place, write_config

__all__ = ["place"]  # the fixture
pytestmark = pytest.mark.timeout(900)


@pytest.mark.slow
def test_official_dataset_saved_to_disk_trains_unchanged(place):
    name = write_config(
        place, "official", max_steps=1, test_datasets=None,
        datasets=[{"path": "official", "type": "genpi_plugin.strategy"}],
    )  # fmt: skip
    text = axolotl(place, "train", name, "--launcher", "python")
    assert len([entry for entry in losses(text) if "loss" in entry]) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"genpi": {"sft_wieght": 0.5}}, "did you mean `sft_weight`?"),
        pytest.param(
            {"sequence_len": 64}, "or more (nothing is ever truncated)", marks=pytest.mark.slow
        ),
    ],
)
def test_a_users_mistake_is_a_message_and_not_a_traceback(place, changes, says):
    name = write_config(place, "wrong", **changes)
    text = axolotl(place, "train", name, "--launcher", "python", ok=False)
    assert says in text
    assert "Traceback" not in text


def test_without_the_block_the_plugin_does_nothing(place):
    """An ordinary axolotl run with the plugin listed is the run without it."""
    ordinary = {
        "datasets": [{"path": "chat.jsonl", "type": "chat_template"}],
        "test_datasets": None, "genpi": None, "max_steps": 1,
    }  # fmt: skip
    line = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
    (place / "chat.jsonl").write_text((json.dumps(line) + "\n") * 8)
    found = []
    for name, plugins in (("with", CONFIG["plugins"]), ("without", None)):
        config = {**CONFIG, **ordinary, "plugins": plugins, "base_model": "tiny"}
        config["output_dir"] = f"out/{name}"
        config = {key: value for key, value in config.items() if value is not None}
        (place / f"{name}.yml").write_text(yaml.safe_dump(config))
        text = axolotl(place, "train", f"{name}.yml", "--launcher", "python")
        found.append([entry["loss"] for entry in losses(text) if "loss" in entry])
    assert found[0] == found[1]
    assert found[0]
