"""Adapter folders: broken ones, and those of another prompt or base model."""

from __future__ import annotations

import json
import shutil

import pytest

from genpi_plugin.data.digests import of_weights
from genpi_plugin.data.prepared import describe_prompt
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.run import evaluate
from genpi_plugin.evaluation.subjects.adapters import check_adapter
from tests.genpi_plugin.evaluation.run_made import settings
from tests.genpi_plugin.rows_made import PROMPT


def test_a_prompt_and_a_teacher_that_are_not_the_manifests_are_warned_of(place, capsys):
    shutil.copytree("adapters/a", "adapters/with_manifest")
    for prompt, warned in ((PROMPT, False), ([{"role": "system", "content": "Another."}], True)):
        start = {"genpi": {"teacher": "start"}, "started_from": {"adapter": "before"}}
        manifest = {"prompts": [describe_prompt("shop", prompt)], "weights_mark": None}
        manifest |= start if warned else {}
        (place / "adapters" / "with_manifest" / "genpi_manifest.json").write_text(
            json.dumps(manifest)
        )
        metrics = evaluate(settings(adapters=["adapters/with_manifest"]))
        assert any("different prompt" in line for line in metrics["warnings"]) is warned
        assert any("it started from (before)" in line for line in metrics["warnings"]) is warned
        assert ("different prompt" in capsys.readouterr().out) is warned


def test_a_base_model_is_known_by_its_name_and_its_weights(place, no_model):
    tiny = of_weights("tiny")
    shutil.copytree("adapters/a", "adapters/known")
    folder = place / "adapters" / "known"
    manifest, config = folder / "genpi_manifest.json", folder / "adapter_config.json"
    settings_of = json.loads(config.read_text())

    def check(name, mark):
        config.write_text(json.dumps({**settings_of, "base_model_name_or_path": name}))
        manifest.write_text(json.dumps({"prompts": [], "weights_mark": mark}))
        return check_adapter(folder, "tiny")

    assert check("tiny", tiny) == check("tiny", None) == check("./tiny", tiny) == []
    assert check("moved/elsewhere", tiny) == []
    [warning] = check("tiny", "0" * 16)
    assert "weights under that name have changed" in warning
    for name, mark in (("moved/elsewhere", None), ("moved/elsewhere", "0" * 16), ("large", None)):
        with pytest.raises(GenPIError, match=f"is an adapter of {name}"):
            check(name, mark)


def break_adapter(place, how):
    folder = place / "adapters" / how
    shutil.copytree("adapters/a", folder)
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    if how == "no_weights":
        weights.unlink()
    elif how == "cut_weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "bad_config":
        config.write_text("{")
    elif how == "renamed_other":  # another model's adapter that says it is of this one
        shutil.copy("adapters/other/adapter_model.safetensors", weights)
    elif how == "missing_layer":
        from safetensors.torch import load_file, save_file

        state = load_file(weights)
        del state[next(iter(state))]
        save_file(state, weights)
    return str(folder)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no_weights", "holds no adapter weights"),
        ("cut_weights", "is damaged"),
        ("bad_config", "can't be read"),
        ("renamed_other", "does not fit the base model"),
        ("missing_layer", "1 of the weights"),
    ],
)
def test_a_broken_adapter_folder_is_refused(place, how, says):
    with pytest.raises(GenPIError, match=says):
        evaluate(settings(adapters=[break_adapter(place, how)]))


def test_the_same_model_under_another_name_is_known_by_its_weights(place, capsys):
    shutil.copytree("tiny", "tiny_moved")
    found = evaluate(settings(base_model="tiny_moved", limit=2))
    assert found["internalization"] == evaluate(settings(limit=2))["internalization"]
    assert found["warnings"] == []
