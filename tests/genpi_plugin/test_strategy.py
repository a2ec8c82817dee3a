"""The dataset type: rows of a file to pairs, what is refused, and what is said of them."""

from __future__ import annotations

import json

import pytest
from axolotl.integrations import base
from datasets import Dataset

from genpi_plugin.data.prepared import recorded_prompts
from genpi_plugin.data.rows import parse
from tests.genpi_plugin.rows_made import official_row, our_row
from tests.genpi_plugin.test_settings import PLUGINS
from tests.tiny import make_tokenizer


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
