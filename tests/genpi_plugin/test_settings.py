"""The `genpi:` block and what can't be combined with it: every mistake has its own clear error."""

from __future__ import annotations

import logging

import pytest

from genpi_plugin.args import GenPISettings, parse_settings
from genpi_plugin.checks import check_config, check_on_policy
from genpi_plugin.errors import ConfigError

DATASET = {"path": "data/shop", "type": "genpi_plugin.strategy"}
PLUGINS = ["genpi_plugin.GenPIPlugin"]


def test_an_empty_block_is_enough():
    assert parse_settings({}) == GenPISettings(student_prompt="never")


@pytest.mark.parametrize(
    ("block", "weight"),
    [
        ({"distill_weight": 1}, 0),
        ({"distill_weight": 1, "sft_weight": 0.3}, 0.3),
        ({"distill_weight": 0}, 0.7),
        ({"distill_weight": 0, "sft_weight": 0}, 0),
        ({"distill_weight": 1, "distill_from": "rows"}, 0),
        # A student with the prompt has learned all that the teacher's distributions say.
        ({"distill_weight": 1, "student_prompt": "random"}, 0.7),
    ],
)
def test_labels_are_learned_from_where_nothing_says_more(block, weight):
    assert parse_settings(block).label_weight == weight


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"sft_wieght": 0.5}, "`genpi.sft_wieght` is not a setting.*\n.*did you mean `sft_weight`"),
        ({"sft_weight": 1.3}, "`genpi.sft_weight: 1.3`: Input should be less than or equal to 1"),
        ({"sft_weight": -0.1}, "greater than or equal to 0"),
        ({"student_prompt": "sometimes"}, "'never', 'always' or 'random'"),
        ({"on_overflow": "truncate"}, "'error' or 'drop'"),
        (
            {"sft_weight": 0, "prompt_generation_share": 0, "distill_weight": 0},
            "leave nothing to train on",
        ),
        ("0.7", "not a block of keys"),
        ({"on_policy": {"epoch": 1}}, "`genpi.on_policy.epoch` is not.*\n.*mean `epochs`"),
        ({"on_policy": {"epochs": 0}}, "`genpi.on_policy.epochs: 0`.*greater than 0.*\n.*last"),
        ({"on_policy": {"divergence": "kl"}}, "'forward', 'reverse' or 'jsd'"),
        ({"on_policy": {"divergence": "jsd", "beta": 1}}, "less than 1"),
        ({"on_policy": True}, "`genpi.on_policy: True`"),
    ],
)
def test_a_mistake_in_the_block_is_named(block, says):
    with pytest.raises(ConfigError, match=says):
        parse_settings(block)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"datasets": [{**DATASET, "type": "alpaca"}]}, r"datasets\[0\].*type 'alpaca'"),
        ({"test_datasets": [{"path": "x", "type": "chat_template"}]}, r"test_datasets\[0\]"),
        ({"datasets": []}, "no `datasets:`"),
        ({"rl": "dpo"}, "`rl: dpo` can't be combined with `genpi:`"),
        ({"train_on_inputs": True}, "`train_on_inputs: True` can't be combined"),
        ({"context_parallel_size": 2}, "`context_parallel_size: 2` can.t be combined"),
        ({"sequence_len": 4096, "eval_sequence_len": 512}, "`eval_sequence_len: 512`"),
        ({"adapter": "lora", "lisa_n_layers": 1}, "`lisa_n_layers` with `adapter:`"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        check_config({"datasets": [DATASET], "genpi": {}, **changes})


@pytest.mark.parametrize(
    ("changes", "weight", "says"),
    [
        ({"adapter": "lora"}, 1.0, ""),
        ({}, 0.0, "needs an adapter"),
        ({"adapter": "lora", "fsdp_config": {"fsdp_version": 2}}, 1.0, ""),
        ({"adapter": "lora", "fsdp_config": {"offload_params": True}}, 0.0, "with FSDP1"),
    ],
)
def test_distillation_is_the_default_where_there_is_a_teacher(changes, weight, says, caplog):
    from genpi_plugin.plugin import GenPIPlugin

    logging.getLogger("axolotl").propagate = True
    cfg = {"genpi": {}, "datasets": [DATASET], "base_model": "tiny", **changes}
    with caplog.at_level("INFO"):
        GenPIPlugin().register(cfg)
    assert cfg["genpi"]["distill_weight"] == weight
    assert says in caplog.text
    assert bool(says) == ("training without distillation" in caplog.text)


CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
# demo
"""


def test_rows_are_those_of_the_files_that_are_there_now(tmp_path, monkeypatch):
    """`datasets` by itself gives the first folder's rows each time."""
    import datasets

    from genpi_plugin.evaluation.subjects.inputs import load_split
    from genpi_plugin.plugin import GenPIPlugin

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for place, text in (("a", "one"), ("b", "two"), ("a", "three")):
        folder = tmp_path / place / "demo"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(CARD)
        rows = datasets.Dataset.from_list([{"input": text}])
        rows.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
        cfg = {"genpi": {}, "datasets": [DATASET | {"path": str(folder)}], "base_model": "tiny",
               "dataset_prepared_path": str(tmp_path / "prepared")}  # fmt: skip
        GenPIPlugin().register(cfg)
        assert load_split(str(folder), "train", {})["input"][:] == [text]


def test_a_right_config_passes():
    check_config({"datasets": [DATASET], "test_datasets": [DATASET], "sequence_len": 512})


@pytest.mark.parametrize(
    ("genpi", "changes", "says"),
    [
        ({}, {"adapter": None}, "needs an adapter.*\n.*remove `on_policy`"),
        ({}, {"fsdp_config": {"fsdp_version": 2}}, "can't be combined with FSDP"),
        ({"distill_weight": 0}, {}, "no effect with `distill_weight: 0`"),
        ({"teacher": "start"}, {"lora_model_dir": "x"}, "can't be combined with `teacher: start`"),
        ({"distill_from": "rows"}, {}, "can't be combined with `distill_from: rows`"),
        ({"student_prompt": "random"}, {}, "`student_prompt: random`"),
        ({}, {"num_epochs": 0.5}, "`genpi.on_policy.epochs: 1` is more than `num_epochs: 0.5`"),
    ],
)
def test_what_rules_out_learning_from_own_answers_is_refused(genpi, changes, says):
    def check(on_policy):
        block = parse_settings({"distill_weight": 1.0, **genpi, "on_policy": on_policy})
        check_on_policy({"adapter": "lora", **changes}, block.model_dump())

    check(None)
    with pytest.raises(ConfigError, match=says):
        check({})
