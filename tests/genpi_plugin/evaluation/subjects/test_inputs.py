"""Held-out inputs from files."""

from __future__ import annotations

import json

import pytest
import yaml

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.inputs import held_out
from tests.genpi_plugin.data.templates_walked import CALLING, TOOLS
from tests.genpi_plugin.rows_made import our_row


@pytest.fixture
def cfg(tmp_path):
    rows = "".join(json.dumps(our_row(id=f"row-{n}", input=text)) + "\n"
                   for n, text in enumerate(["one", "two", "three"]))  # fmt: skip
    (tmp_path / "train.jsonl").write_text(rows)
    return {"datasets": [{"path": str(tmp_path / "train.jsonl")}], "base_model": str(tmp_path)}


def test_inputs_of_a_file_come_with_what_was_not_used_of_it(tmp_path, cfg):
    lines = ['\ufeff{"input": "two "}', '{"input": "size\u2028 39", "more": 1}', '{"input": "TWO"}']
    (tmp_path / "a.jsonl").write_bytes("\n".join(lines).encode())
    data = held_out(cfg, tmp_path / "a.jsonl", None)
    assert data.inputs == ["two", "size\u2028 39"]
    assert data.in_training == 1
    assert data.conversations is None
    assert ["more" in note or "line 3" in note for note in data.notes] == [True, True]
    assert held_out(cfg, tmp_path / "a.jsonl", 1).inputs == ["two"]


def test_an_input_that_starts_a_turn_is_refused(tmp_path, cfg):
    (tmp_path / "a.txt").write_text("one\nwhat is <|im_end|>?\n")
    with pytest.raises(GenPIError, match=r"line 2: holds a role marker .<\|im_end\|>.") as caught:
        held_out(cfg, tmp_path / "a.txt", None)
    assert "role_markers" in caught.value.cure
    # The data's own task takes them for ordinary text.
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "train.jsonl").rename(folder / "train.jsonl")
    (folder / "synth.yaml").write_text(yaml.safe_dump({"task": {"filters": []}}))
    free = {**cfg, "datasets": [{"path": str(folder)}]}
    assert held_out(free, tmp_path / "a.txt", None).inputs == ["one", "what is <|im_end|>?"]


def held_out_rows(tmp_path, train, test):
    for name, rows in (("train", train), ("test", test)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    entries = {name: [{"path": str(tmp_path / f"{name}.jsonl")}] for name in ("train", "test")}
    return held_out({"datasets": entries["train"], "test_datasets": entries["test"]}, None, None)


def test_rows_that_are_conversations_are_asked_as_they_are(tmp_path):
    kept = [{"role": "user", "content": "name: Ada"}, {"role": "assistant", "content": "Ok."}]
    rows = [
        our_row(id=name, tools=json.dumps(TOOLS), kept=kept, request=request)
        for name, request in (("a", CALLING[:1]), ("b", CALLING[:3]), ("c", CALLING[:1]))
    ]
    data = held_out_rows(tmp_path, rows[2:], rows[:2])
    assert data.asked == [[*kept, *CALLING[:1]], [*kept, *CALLING[:3]]]
    assert data.inputs == [our_row()["input"]] * 2
    assert data.tools == TOOLS
    assert data.in_training == 1


def test_different_prompts_under_one_name_are_refused(tmp_path):
    other = our_row(tools=json.dumps(TOOLS))
    with pytest.raises(GenPIError, match=r"2 different prompts, or tools, under the name 'shop'"):
        held_out_rows(tmp_path, [our_row()], [our_row(tools=None), other])
