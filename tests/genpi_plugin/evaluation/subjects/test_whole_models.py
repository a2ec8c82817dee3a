"""Students that are whole models: an adapter merged into its base is the adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.measuring.context import Options
from genpi_plugin.evaluation.measuring.systems import SubjectLoader, System
from genpi_plugin.evaluation.run import evaluate
from genpi_plugin.evaluation.subjects.load import load_config
from genpi_plugin.evaluation.subjects.whole_models import check_whole, is_whole
from tests.genpi_plugin.evaluation.run_made import settings


@pytest.fixture(scope="module")
def merged(place):
    """A config without an adapter, and adapter `a` merged into a model of its own."""
    config = yaml.safe_load((place / "c.yml").read_text())
    config = {key: value for key, value in config.items()
              if key != "adapter" and not key.startswith("lora_")}  # fmt: skip
    (place / "full.yml").write_text(yaml.safe_dump({**config, "output_dir": "full"}))
    base = AutoModelForCausalLM.from_pretrained("tiny")
    PeftModel.from_pretrained(base, "adapters/a").merge_and_unload().save_pretrained("full")
    return Path("full")


def test_a_merged_adapter_has_the_adapters_figures(place, merged):
    adapter = evaluate(settings())
    whole = evaluate(settings(config="full.yml", adapters=["full"]))
    assert whole["source"]["adapter"] == "full"
    assert any("full holds a whole model" in line for line in whole["warnings"])
    assert adapter["internalization"]["value"] < 1
    for figure in ("internalization", "own_path"):
        for end in ("value", "ci_low", "ci_high"):
            assert whole[figure][end] == pytest.approx(adapter[figure][end], abs=1e-4)
    assert whole["systems"]["teacher"] == adapter["systems"]["teacher"]
    assert whole["systems"]["floor"] == adapter["systems"]["floor"]


def test_adapters_and_whole_models_are_compared(place, merged):
    both = evaluate(settings(adapters=["full", "adapters/a", "adapters/b"]))["students"]
    assert both["full"]["internalization"]["value"] == pytest.approx(
        both["a"]["internalization"]["value"], abs=1e-4
    )
    assert abs(both["b"]["internalization"]["value"] - both["a"]["internalization"]["value"]) > 1e-3
    alone = evaluate(settings(adapters=["adapters/b"]))
    assert alone["internalization"] == both["b"]["internalization"]


def test_nothing_is_switched_off_and_nothing_unmerged(place, merged):
    (place / "general.txt").write_text("a b\nc d\n")
    found = evaluate(
        settings(config="full.yml", adapters=["full"], skip=("clauses", "disclosure", "turns"),
                 options=Options(recitals=1, general=place / "general.txt"))
    )  # fmt: skip
    assert found["drift"]["off_identical"] is None
    assert "the base model itself" in found["drift"]["advice"]
    assert found["drift"]["kl_from_floor"]["value"] > 0
    assert set(found["cost"]["settings"]) == {"prompt_cold", "prompt_cached", "adapter_merged"}
    assert found["recitation"]["n"] == 1
    assert (place / "report" / "report.html").is_file()


def test_other_weights_are_measured_anew(place, merged):
    shutil.copytree("full", "trained_on")
    before = evaluate(settings(config="full.yml", adapters=["trained_on"]))
    base = AutoModelForCausalLM.from_pretrained("tiny")
    PeftModel.from_pretrained(base, "adapters/b").merge_and_unload().save_pretrained("trained_on")
    after = evaluate(settings(config="full.yml", adapters=["trained_on"]))
    assert after["internalization"] != before["internalization"]


@pytest.mark.parametrize(
    ("adapters", "changes", "says"),
    [
        (["adapters/a"], {}, "holds an adapter, and the config has no `adapter:`"),
        (["bare"], {}, r"holds a model's config\.json, and no weights"),
        (["nowhere"], {}, "nowhere holds no adapter"),
        (["other_vocabulary"], {}, r"tells \d+ tokens apart, and the base model"),
        (["full"], {"with_checkpoints": True}, "`--checkpoints` compares a run's adapters"),
    ],
)
def test_what_cant_be_compared_is_refused(place, merged, adapters, changes, says):
    Path("bare").mkdir(exist_ok=True)
    shutil.copy("full/config.json", "bare")
    model = AutoModelForCausalLM.from_pretrained("tiny")
    model.resize_token_embeddings(model.config.vocab_size + 8)
    model.save_pretrained("other_vocabulary")
    with pytest.raises(GenPIError, match=says):
        evaluate(settings(config="full.yml", adapters=adapters, **changes))


def test_the_folder_of_an_adapter_is_no_whole_model_though_it_has_the_models_config(place, merged):
    shutil.copytree("adapters/a", "both", dirs_exist_ok=True)
    shutil.copy("full/config.json", "both")
    assert not is_whole(Path("both"))
    assert is_whole(Path("full"))


def test_another_base_model_than_it_was_trained_from_is_said(place, merged):
    shutil.copytree("full", "told", dirs_exist_ok=True)
    for mark, said in ((None, 1), ("0" * 16, 2)):
        Path("told/genpi_manifest.json").write_text(json.dumps({"weights_mark": mark}))
        warnings = check_whole(Path("told"), "tiny")
        assert len(warnings) == said
    assert "does not come from" in warnings[1]


def test_beside_a_quantized_base_model_a_whole_model_is_not_quantized(place, merged):
    config = yaml.safe_load((place / "c.yml").read_text())
    quantized = {**config, "adapter": "qlora", "load_in_4bit": True}
    (place / "qlora.yml").write_text(yaml.safe_dump(quantized))
    cfg = load_config(Path("qlora.yml"), {})
    loader = SubjectLoader(cfg, [Path("adapters/a"), Path("full")], 4)
    models = [loader.subject(System(name, adapter=Path(name))).model
              for name in ("adapters/a", "full")]  # fmt: skip
    kinds = [{type(module).__name__ for module in model.modules()} for model in models]
    assert "Linear4bit" in kinds[0]
    assert not any("4bit" in kind for kind in kinds[1])
