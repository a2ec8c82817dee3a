"""Who teaches: the model or the rows, as the YAML says or the data show; and what is said of it."""

from __future__ import annotations

import json
import logging

import pytest
import yaml
from datasets import Dataset, concatenate_datasets

from genpi_plugin.data.told import check_told
from genpi_plugin.errors import ConfigError
from tests.genpi_plugin.rows_made import our_row
from tests.genpi_plugin.test_axolotl import adapter, axolotl, losses, place, write_config
from tests.genpi_plugin.test_settings import DATASET, PLUGINS
from tests.genpi_plugin.told_made import add_told, told_row, write_parquet
from tests.tiny import make_model, make_tokenizer

__all__ = ["place"]  # the fixture
ZERO3 = {"deepspeed": {"zero_optimization": {"stage": 3}}}


@pytest.fixture(scope="module")
def rows():
    from genpi_plugin.data.chat import ChatView

    view, model = ChatView(make_tokenizer()), make_model(len(make_tokenizer()))
    return [told_row(our_row(2, id=f"r{i}", input=f"{i} shirts"), view, model, 8) for i in range(4)]


def registered(tmp_path, rows, genpi=None, **changes):
    """The `genpi:` block once the plugin has decided."""
    from genpi_plugin.plugin import GenPIPlugin

    write_parquet(tmp_path / "told" / "data" / "train-0.parquet", rows)
    cfg = {
        "genpi": genpi or {},
        "datasets": [DATASET | {"path": str(tmp_path / "told")}],
        "base_model": "tiny",
        "dataset_prepared_path": str(tmp_path / "prepared"),
        **changes,
    }
    GenPIPlugin().register(cfg)
    return cfg["genpi"]


def untold(row):
    return {**row, "top_ids": [None] * 2, "top_logprobs": [None] * 2}


def bare(row):
    return {name: value for name, value in row.items() if not name.startswith("top_")}


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"adapter": "lora"}, "model"),
        ({}, "rows"),
        ({"adapter": "lora", **ZERO3}, "model"),
        ({"adapter": "lora", "fsdp_version": 2, "fsdp_config": {"a": 1}}, "model"),
        ({"adapter": "lora", "fsdp_config": {"a": 1}}, "rows"),
    ],
)
def test_told_rows_teach_where_the_model_can_not(tmp_path, rows, changes, who, caplog):
    """One told row of four is enough, and rows that are only evaluated have no say."""
    logging.getLogger("axolotl").propagate = True
    tested = [DATASET | {"path": str(tmp_path / "none")}]
    with caplog.at_level("INFO"):
        found = registered(tmp_path, [*map(untold, rows[1:]), rows[0]], test_datasets=tested,
                           **changes)  # fmt: skip
    assert (found["distill_weight"], found["distill_from"]) == (1.0, who)
    assert ("distributions are those in the rows" in caplog.text) == (who == "rows")
    assert "without distillation" not in caplog.text


@pytest.mark.parametrize("genpi", [{}, {"teacher": "start", "distill_weight": None}])
def test_without_a_teacher_and_told_rows_there_is_no_distillation(tmp_path, rows, genpi, caplog):
    logging.getLogger("axolotl").propagate = True
    its = rows if genpi else list(map(untold, rows))
    with caplog.at_level("INFO"):
        if genpi:  # it names a teacher that rows are not
            with pytest.raises(SystemExit, match="no effect without distillation"):
                registered(tmp_path, its, genpi, lora_model_dir="a")
        else:
            assert registered(tmp_path, its)["distill_weight"] == 0
    assert "training without distillation, which needs an adapter" in caplog.text


@pytest.mark.parametrize(
    ("genpi", "told", "expected"),
    [
        ({}, False, (1.0, "model")),
        ({"distill_from": "model"}, True, (1.0, "model")),
        ({"distill_from": "rows"}, False, (1.0, "rows")),  # the rows are read later
        ({"distill_weight": 0.3}, True, (0.3, "model")),
        ({"distill_weight": 0}, True, (0, None)),
        ({"teacher": "start"}, True, (1.0, "model")),
    ],
)
def test_the_yaml_decides_before_the_data(tmp_path, rows, genpi, told, expected, caplog):
    logging.getLogger("axolotl").propagate = True
    caplog.set_level(logging.INFO)
    its = rows if told else [rows[0], bare(rows[1]) | {"top_ids": None, "top_logprobs": None}]
    found = registered(tmp_path, its, genpi, adapter="lora", lora_model_dir="a")
    assert (found["distill_weight"], found.get("distill_from")) == expected
    assert found["sft_weight"] == (0 if expected[0] else 0.7)
    assert ("no loss on the answers' labels" in caplog.text) == bool(expected[0])


@pytest.mark.parametrize(
    ("genpi", "changes", "says"),
    [
        ({"distill_from": "rows", "distill_weight": 0}, {}, "no effect with `distill_weight: 0`"),
        ({"distill_from": "rows", "teacher": "start"}, {"lora_model_dir": "a"}, "two teachers"),
        ({"distill_from": "model"}, {"fsdp_config": {"a": 1}}, "FSDP1.*\n.*`distill_from: rows`"),
        ({"distill_from": "model", "distill_weight": 1}, {"adapter": None}, "needs an adapter"),
        ({"distill_from": "server"}, {}, "'model' or 'rows'"),
    ],
)
def test_what_names_no_teacher_is_refused(tmp_path, rows, genpi, changes, says):
    with pytest.raises(SystemExit, match=says):
        registered(tmp_path, rows, genpi, **{"adapter": "lora", **changes})


def strategy(tmp_path, rows, cfg=None, **genpi):
    from genpi_plugin.strategy import load

    settings = {"distill_weight": 1, "distill_from": "rows", **genpi}
    cfg = {"plugins": PLUGINS, "genpi": settings, "sequence_len": 4096,
           "dataset_prepared_path": str(tmp_path), **(cfg or {})}  # fmt: skip
    loaded = load(make_tokenizer(), cfg, {"path": "data/shop"})
    return loaded.wrap_dataset(Dataset.from_list(rows))


def test_rows_without_a_word_of_the_teacher_are_refused(tmp_path, rows):
    with pytest.raises(SystemExit, match=r"no row of data/shop has `top_ids`.*\n.*--logprobs 20"):
        strategy(tmp_path, list(map(bare, rows)))


@pytest.mark.parametrize(
    ("genpi", "what"),
    [
        ({}, "nothing is learnt from them; `genpi: {sft_weight: 0.7}` learns from their text, too"),
        ({"sft_weight": 0.5}, "they are learnt from their text alone (sft_weight)"),
    ],
)
def test_answers_without_distributions_are_counted_and_said(tmp_path, rows, caplog, genpi, what):
    logging.getLogger("axolotl").propagate = True
    partly = {name: [None, rows[1][name][1]] for name in ("top_ids", "top_logprobs")}
    strategy(tmp_path, [rows[0], {**rows[1], **partly}, bare(rows[2]), rows[3]], **genpi)
    assert f"3 answers in 2 of 4 rows of data/shop have no `top_ids`: {what}" in caplog.text
    assert "The first is in data/shop, row 1" in caplog.text


def test_rows_beside_told_ones_and_rows_of_a_test_need_no_word(tmp_path, rows, caplog):
    """But what all datasets are without is nowhere to be learnt from."""
    logging.getLogger("axolotl").propagate = True
    shop, other = {"path": "data/shop"}, {"path": "data/other"}
    several = {"datasets": [shop, other]}
    made = strategy(tmp_path / "a", list(map(bare, rows)), several)
    assert "8 answers in 4 of 4 rows of data/shop have no `top_ids`: nothing" in caplog.text
    with pytest.raises(ConfigError, match="no training row has `top_ids`"):
        check_told(made)
    check_told(concatenate_datasets([made, strategy(tmp_path / "b", rows, several)]))
    tested = {"datasets": [other], "test_datasets": [shop]}
    strategy(tmp_path / "c", list(map(bare, rows)), tested)
    assert "have no `top_ids`: they add nothing to `eval_divergence`" in caplog.text


def test_distributions_that_are_not_used_are_said(tmp_path, rows, caplog):
    logging.getLogger("axolotl").propagate = True
    with caplog.at_level("INFO"):
        made = strategy(tmp_path, rows, distill_from="model")
    assert "4 of 4 rows of data/shop hold the teacher's distributions, which are" in caplog.text
    assert not [name for name in made.column_names if name.startswith("genpi_target")]


def test_a_wrong_distribution_ends_the_run_with_row_and_field(tmp_path, rows):
    wrong = json.loads(json.dumps(rows))
    wrong[2]["top_logprobs"][1][0].reverse()
    with pytest.raises(SystemExit, match=r"data/shop, row 2: the field `top_logprobs\[1\]` is not"):
        strategy(tmp_path, wrong)
    wrong = json.loads(json.dumps(rows))
    wrong[3]["top_ids"][0][0][-1] = 500
    with pytest.raises(SystemExit, match=r"row 3: the field `top_ids\[0\]` holds 500.* 436 tokens"):
        strategy(tmp_path, wrong)
    other = [{**row, "tokenizer": "436-0000000000000000"} for row in rows]
    with pytest.raises(SystemExit, match="sampled with another tokenizer"):
        strategy(tmp_path, other)


def test_a_source_without_distillation_is_named():
    from genpi_plugin.checks import check_source

    check_source("rows", True)
    with pytest.raises(ConfigError, match="no effect"):
        check_source("model", False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_told_rows_through_axolotl_resumed_packed_and_without_an_adapter(place):
    """Beside an adapter the YAML says that the rows teach; without one, the data do."""
    add_told(place)
    entry = {"path": "data/told", "type": "genpi_plugin.strategy"}
    data = {
        "datasets": [{**entry, "split": "train"}],
        "test_datasets": [{**entry, "split": "test"}],
    }
    weights = {"sft_weight": 0.6, "prompt_generation_share": 1, "keep_weight": 0}
    both = {**data, "genpi": {**weights, "distill_from": "rows"}}
    name = write_config(place, "told", eval_strategy="steps", eval_steps=4, **both)
    text = axolotl(place, "train", name, "--launcher", "python")
    assert "distributions are those in the rows" in text
    assert "the teacher reads" not in text
    steps = [entry for entry in losses(text) if "loss" in entry]
    for step in steps:
        joint = 0.6 * step["behaviour_loss"] + 0.4 * step["prompt_generation_loss"]
        assert step["loss"] == pytest.approx(joint + step["divergence"], rel=2e-3)
    assert any(entry.get("eval_divergence", 0) > 0 for entry in losses(text))
    manifest = json.loads((place / "out" / "told" / "genpi_manifest.json").read_text())
    assert manifest["genpi"]["distill_from"] == "rows"

    name = write_config(place, "told_on", resume_from_checkpoint="out/told/checkpoint-2", **both)
    text = axolotl(place, "train", name, "--launcher", "python")
    assert [step["loss"] for step in losses(text) if "loss" in step] == [
        step["loss"] for step in steps[2:]
    ]
    whole, resumed = adapter(place / "out" / "told"), adapter(place / "out" / "told_on")
    assert all(resumed[key].equal(whole[key]) for key in whole)

    packed = {"sample_packing": True, "micro_batch_size": 1, "max_steps": 2}
    text = axolotl(
        place, "train", write_config(place, "told_packed", **packed, **both), "--launcher", "python"
    )
    assert all(step["divergence"] > 0 for step in losses(text) if "loss" in step)

    # Nothing but the rows' distributions, over three epochs of four steps.
    alone = {"sft_weight": 0, "prompt_generation_share": 0}
    full = {"genpi": alone, "learning_rate": 1e-3, "max_steps": 12}
    path = place / write_config(place, "told_full", **{**both, **full})
    config = yaml.safe_load(path.read_text())
    lora = [key for key in config if key == "adapter" or key.startswith("lora_")]
    path.write_text(yaml.safe_dump({key: config[key] for key in config if key not in lora}))
    text = axolotl(place, "train", path.name, "--launcher", "python")
    steps = [step["divergence"] for step in losses(text) if "loss" in step]
    assert sum(steps[-4:]) < sum(steps[:4])
    assert (place / "out" / "told_full" / "model.safetensors").is_file()
    skipped = ("recitation", "drift", "disclosure", "clauses", "cost")
    skip = [part for name in skipped for part in ("--skip", name)]
    text = axolotl(place, "genpi-eval", path.name, "--max-new-tokens", "8", *skip)
    assert "holds a whole model" in text
    report = place / "out" / "told_full" / "report" / "metrics.json"
    assert json.loads(report.read_text())["internalization"]["value"] > 0
