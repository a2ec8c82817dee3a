"""The `genpi:` block and what can't be combined with it: every mistake has its own clear error."""

from __future__ import annotations

import json
import logging

import pytest
from axolotl.integrations import base
from datasets import Dataset

from genpi_plugin.args import GenPISettings, parse_settings
from genpi_plugin.checks import check_config, check_on_policy
from genpi_plugin.data.prepared import fingerprint, prepared_path, recorded_prompts
from genpi_plugin.data.rows import parse
from genpi_plugin.errors import ConfigError
from tests.genpi_plugin.rows_made import official_row, our_row
from tests.tiny import make_tokenizer

DATASET = {"path": "data/shop", "type": "genpi_plugin.strategy"}
PLUGINS = ["genpi_plugin.GenPIPlugin"]


def test_an_empty_block_is_enough():
    assert parse_settings({}) == GenPISettings(sft_weight=0.7, student_prompt="never")


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


def strategy(tmp_path, rows, cfg=None, **settings):
    from genpi_plugin.strategy import load

    config = {
        "plugins": PLUGINS,
        "genpi": settings,
        "sequence_len": 4096,
        "dataset_prepared_path": str(tmp_path),
        **(cfg or {}),
    }
    loaded = load(make_tokenizer(), config, {"path": "data/shop"})
    return loaded.wrap_dataset(Dataset.from_list(rows))


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        ({"plugins": None}, "needs its plugin"),
        ({"genpi": None}, "needs a `genpi:` block"),
    ],
)
def test_the_dataset_type_alone_is_refused(tmp_path, monkeypatch, cfg, says):
    # axolotl 0.21 finds the installed plugin without the YAML's `plugins`.
    monkeypatch.setattr(base, "get_builtin_plugins", tuple, raising=False)
    with pytest.raises(SystemExit, match=says):
        strategy(tmp_path, [our_row()], cfg)


def test_a_bad_row_ends_the_run_with_file_row_and_field(tmp_path):
    rows = [our_row(), our_row(reason="")]
    with pytest.raises(SystemExit, match=r"data/shop, row 1: the field `reason` is empty"):
        strategy(tmp_path, rows)


def test_a_row_that_does_not_fit_ends_the_run_and_says_what_would_fit(tmp_path):
    rows = [our_row(), our_row(input="long " * 300)]
    whole = strategy(tmp_path, rows)
    longest = max(len(ids) for ids in whole["input_ids"])
    with pytest.raises(SystemExit) as error:
        strategy(tmp_path, rows, {"sequence_len": longest - 1})
    message = str(error.value)
    assert "1 of 2 pairs" in message
    assert "row 1" in message
    assert f"`sequence_len: {longest}` or more" in message
    assert len(strategy(tmp_path, rows, {"sequence_len": longest})) == 2


def test_overflow_drop_keeps_the_rest_whole(tmp_path):
    rows = [our_row(), our_row(input="long " * 300)]
    whole = strategy(tmp_path, rows)
    short = len(whole["input_ids"][0])
    kept = strategy(tmp_path, rows, {"sequence_len": short}, on_overflow="drop")
    assert kept["input_ids"] == whole["input_ids"][:1]


def test_a_text_that_is_not_utf8_ends_the_run_with_its_row(tmp_path):
    import datasets

    from genpi_plugin.strategy import load

    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(our_row(input=text), ensure_ascii=False) for text in ("a", "caf\u00e9")]
    path.write_bytes("\n".join(lines).encode("latin-1"))
    rows = datasets.load_dataset("json", data_files=str(path), cache_dir=str(tmp_path))["train"]
    config = {"plugins": PLUGINS, "genpi": {}, "sequence_len": 4096}
    with pytest.raises(SystemExit, match="data/shop, row 1: a text is not UTF-8"):
        load(make_tokenizer(), config, {"path": "data/shop"}).wrap_dataset(rows)


@pytest.fixture
def said(monkeypatch):
    """The warnings of the dataset type."""
    from genpi_plugin import strategy

    found = []
    monkeypatch.setattr(strategy.LOG, "warning", found.append)
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_no_recital_at_all_is_said_however_few_rows_there_are(tmp_path, said, count):
    answered = our_row(teacher_output="Action: click[item 0]")
    strategy(tmp_path, [answered | {"id": f"r{i}", "reason": None} for i in range(count)])
    assert len(said) == 1
    assert "no row of data/shop recites the prompt shop" in said[0]
    strategy(tmp_path, [answered | {"reason": None}], sft_weight=1)
    strategy(tmp_path, [answered])
    assert len(said) == 1


def test_a_prompt_that_lost_all_reasons_is_said_beside_one_that_has_them(tmp_path, said):
    rows = [our_row(id=f"r{i}", teacher_output="Action: click[item 0]") for i in range(10)]
    lost = [row | {"prompt_id": "q", "reason": None, "input": f"q{row['id']}"} for row in rows]
    strategy(tmp_path, rows + lost)
    assert [("recites the prompt q:" in one) for one in said] == [True]


def test_dropped_recitals_are_counted(tmp_path, said):
    short = our_row(teacher_output="Action: click[item 0]", reason=None)
    rows = [short, short | {"reason": "long " * 300}]
    fits = len(strategy(tmp_path, rows)["input_ids"][0])
    strategy(tmp_path, rows, {"sequence_len": fits}, on_overflow="drop")
    assert "1 of the 1 that recite among them" in said[-1]


def test_recitals_that_show_another_answer_than_is_trained_are_said(tmp_path, said):
    strategy(tmp_path, [our_row(), our_row(teacher_output=" Action: click[item 0]\n")])
    assert len(said) == 1
    assert "1 of 2 rows of data/shop have a `teacher_output` that is not the first" in said[0]
    assert "data/shop, row 0" in said[0]


def test_a_first_answer_that_calls_a_tool_is_known_by_its_readable_form():
    from genpi_plugin.data.notes import opens_with

    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"n": 1}'}}
    turn = {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    row = parse(our_row(conversation=[turn]), "w")
    assert opens_with(row, "Let me see.")
    assert opens_with(row, 'Let me see.\n{"name": "find", "arguments": {"n": 1}}')
    assert not opens_with(row, "Something else.")


def test_official_rows_become_pairs_as_ours_do(tmp_path):
    pairs = strategy(tmp_path, [official_row()], prompt_generation_share=1)
    assert pairs["genpi_behaviour_sequences"][0] == [1]
    assert len(pairs["genpi_lengths"][0]) == 2


def test_prepared_data_remembers_its_prompt_by_hash_alone(tmp_path):
    strategy(tmp_path, [our_row()])
    [prompt] = recorded_prompts(str(tmp_path))
    assert prompt["prompt_id"] == "shop"
    assert len(prompt["sha256"]) == 64
    assert "shop assistant" not in json.dumps(prompt)


def test_a_value_that_the_student_is_not_told_is_named(tmp_path, caplog):
    prompt = [{"role": "system", "content": "Serve {{ name }}. Today is {{ day }}."}]
    rows = [
        our_row(id=name, prompt=prompt, slots=json.dumps({"name": name, "day": day}),
                kept=[{"role": "system", "content": f"name: {name}"}])
        for name, day in (("Ada", "Monday"), ("Bob", "Friday"))
    ]  # fmt: skip
    rows[1]["input"] += " by Friday"
    strategy(tmp_path, rows)
    assert "in 1 of 2 rows of" in caplog.text
    assert "the student does not see the value of the slot `day`" in caplog.text
    assert "`name`" not in caplog.text
    [prompt] = recorded_prompts(str(tmp_path))
    assert prompt["slots"] == ["name", "day"]
    assert prompt["kept"] == [{"role": "system", "content": "name: {{ name }}"}]
    strategy(tmp_path / "whole", rows, student_prompt="always", distill_weight=0)
    assert caplog.text.count("does not see the value") == 1


def test_whatever_changes_tokens_changes_the_fingerprint(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text("one")
    (tmp_path / "tokenizer.json").write_text("tok")
    cfg = {"datasets": [{**DATASET, "path": str(data)}], "base_model": str(tmp_path)}
    settings = GenPISettings().model_dump()
    prints = [fingerprint(cfg, settings)]
    assert fingerprint(cfg, settings) == prints[0]
    prints.append(fingerprint(cfg, {**settings, "student_prompt": "always"}))
    prints.append(fingerprint({**cfg, "chat_template": "llama3"}, settings))
    prints.append(fingerprint({**cfg, "sequence_len": 1}, settings))
    (data / "train.jsonl").write_text("two")
    prints.append(fingerprint(cfg, settings))
    (tmp_path / "tokenizer.json").write_text("other")
    prints.append(fingerprint(cfg, settings))
    assert len(set(prints)) == len(prints)
    assert fingerprint({**cfg, "learning_rate": 1}, settings) == prints[-1]


@pytest.mark.parametrize(
    "changes",
    [{"on_policy": {"epochs": 1}}, {"keep_weight": 1}, {"keep_inputs": "self"}, {"keep_rows": 1},
     {"keep_tokens": 8}, {"keep": "teacher"}],
)  # fmt: skip
def test_what_makes_no_token_leaves_the_fingerprint(tmp_path, changes):
    """But for a prompt that the folder holds, or does not: `keep: teacher`."""
    cfg = {"datasets": [DATASET], "base_model": str(tmp_path)}
    for before in ({}, {"keep_weight": 0.5, "keep": "teacher"}):
        old, new = (parse_settings(block).model_dump() for block in (before, before | changes))
        assert fingerprint(cfg, old) == fingerprint(cfg, new)
    keeps, to_teacher = ({"keep_weight": 0.5, "keep": keep} for keep in ("floor", "teacher"))
    noted, bare = (
        fingerprint(cfg, parse_settings(changes | block).model_dump())
        for block in (to_teacher, keeps)
    )
    assert noted != bare


def test_a_pasted_prepared_path_does_not_nest():
    first = prepared_path("last_run_prepared", "abc")
    assert prepared_path(first, "def") == "last_run_prepared/genpi-def"


@pytest.mark.parametrize("name", ["rows.parquet", "rows.ndjson", "rows.jsonl.gz", "a/rows.tsv"])
def test_a_change_in_any_data_file_of_a_folder_is_another_state(tmp_path, name):
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    cfg = {"datasets": [{"path": str(tmp_path / "data")}], "base_model": str(tmp_path)}
    states = set()
    for content in ("one", "two"):
        path.write_text(content)
        states.add(fingerprint(cfg, {}))
    assert len(states) == 2


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
