"""Requests to keep in a YAML: what is refused before anything loads, and what is said."""

from __future__ import annotations

import logging

import pytest
from axolotl.utils.dict import DictDefault

from genpi_plugin.args import parse_settings
from genpi_plugin.checks import check_keeping, check_teacher
from genpi_plugin.errors import ConfigError
from genpi_plugin.keeping.prompt import is_noted, recorded_prompt
from genpi_plugin.plugin import GenPIPlugin
from tests.genpi_plugin.rows_made import PROMPT, our_row
from tests.genpi_plugin.test_settings import DATASET
from tests.genpi_plugin.test_strategy import strategy


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adapter": None}, r"(?s)`genpi.keep_weight` needs an adapter.*`keep_weight: 0`"),
        ({"fsdp_config": {"version": 2}}, "can't be combined with FSDP or DeepSpeed ZeRO-3"),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, "ZeRO-3"),
    ],
)
def test_what_leaves_no_reference_is_refused(changes, says):
    defaults = parse_settings({}).model_dump()
    check_keeping({"adapter": "qlora", "deepspeed": {"zero_optimization": {"stage": 2}}}, defaults)
    with pytest.raises(ConfigError, match=says):
        check_keeping({"adapter": "lora", **changes}, defaults)


@pytest.mark.parametrize(
    ("block", "changes", "weight", "says"),
    [
        ({}, {}, 1.0, ""),
        ({"distill_from": "rows"}, {}, 1.0, ""),
        ({"distill_weight": 0.5, "keep": "teacher"}, {}, 1.0, ""),
        ({"distill_weight": 0}, {}, 0.0, ""),
        ({"keep_weight": 0}, {}, 0.0, ""),
        ({"keep_weight": 0.5}, {}, 0.5, ""),
        ({}, {"deepspeed": {"zero_optimization": {"stage": 3}}}, 0.0, "DeepSpeed ZeRO-3"),
        ({"distill_from": "rows"}, {"adapter": None}, 0.0, "needs an adapter"),
        ({}, {"adapter": None}, 0.0, ""),
    ],
)
def test_it_is_the_default_with_distillation_where_answers_are_written(
    tmp_path, caplog, block, changes, weight, says
):
    logging.getLogger("axolotl").propagate = True
    with caplog.at_level("INFO"):
        assert register(tmp_path, changes, **block)["keep_weight"] == weight
    assert ("training without requests to keep, which" in caplog.text) == bool(says)
    assert says in caplog.text


@pytest.mark.parametrize("block", [{"keep_weight": -1}, {"keep": "both"}, {"keep_rows": 0}])
def test_values_that_mean_nothing_are_refused(block):
    with pytest.raises(ConfigError, match=f"genpi.{next(iter(block))}"):
        parse_settings(block)


def register(tmp_path, changes=None, **genpi):
    """The `genpi:` block as the plugin leaves it."""
    cfg = {"genpi": genpi, "datasets": [DATASET], "base_model": "tiny", "adapter": "lora",
           "dataset_prepared_path": str(tmp_path), **(changes or {})}  # fmt: skip
    GenPIPlugin().register(cfg)
    return cfg["genpi"]


@pytest.mark.parametrize("sees", ["always", "random"])
def test_a_student_that_sees_the_prompt_keeps_to_no_teacher_without_it(tmp_path, sees):
    register(tmp_path, keep_weight=1, keep="floor", student_prompt=sees)
    register(tmp_path, keep_weight=0, keep="teacher", student_prompt=sees)
    says = rf"(?s)`genpi.keep: teacher`.*`student_prompt: {sees}`.*`keep: floor`"
    with pytest.raises(SystemExit, match=says):
        register(tmp_path, keep_weight=1, keep="teacher", student_prompt=sees)


def test_a_file_that_is_not_there_stops_the_run_before_the_model_loads(tmp_path):
    register(tmp_path, keep_weight=1, keep_inputs="self")
    with pytest.raises(SystemExit, match=r"nowhere\.txt"):
        register(tmp_path, keep_weight=1, keep_inputs=str(tmp_path / "nowhere.txt"))


def test_settings_without_effect_are_said(tmp_path, caplog):
    logging.getLogger("axolotl").propagate = True
    register(tmp_path, keep_weight=0.5, keep_rows=2)
    assert "without effect" not in caplog.text
    register(tmp_path, keep_weight=0, keep="teacher", keep_rows=2)
    assert "keep, keep_rows without effect: `keep_weight` is 0" in caplog.text


def test_the_start_may_be_asked_for_requests_to_keep_alone():
    check_teacher({"adapter": "lora", "lora_model_dir": "a"}, "start", True)


@pytest.mark.parametrize(
    ("block", "entry", "noted"),
    [
        ({"keep_weight": 1, "keep": "teacher"}, {"path": "a", "split": "train"}, True),
        ({"keep_weight": 1, "keep": "teacher"}, {"path": "a", "split": "test"}, False),
        ({"keep_weight": 1, "keep": "floor"}, {"path": "a", "split": "train"}, False),
        ({"keep_weight": 0, "keep": "teacher"}, {"path": "a", "split": "train"}, False),
    ],
)
def test_prompts_of_training_rows_are_noted_and_of_no_others(block, entry, noted):
    datasets = [{"path": "a", "split": "train"}]
    tested = [{"path": "a", "split": "test"}]
    cfg = DictDefault(genpi=block, datasets=datasets, test_datasets=tested)
    assert is_noted(cfg, DictDefault(entry)) == noted


def test_the_dataset_type_notes_the_prompt(tmp_path):
    cfg = {"datasets": [{"path": "data/shop"}]}
    strategy(tmp_path, [our_row()], cfg, keep_weight=1, keep="teacher")
    [path] = tmp_path.rglob("genpi_keep_prompt.json")
    assert recorded_prompt(str(path.parent)).prompt == PROMPT
