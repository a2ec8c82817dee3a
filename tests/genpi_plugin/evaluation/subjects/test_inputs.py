"""Held-out inputs from files."""

from __future__ import annotations

import gzip
import json

import pytest
import yaml

from genpi_plugin.data.inputs.given import Reading
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


def test_two_prompts_under_one_id_are_two(tmp_path, cfg):
    other = our_row(prompt=[{"role": "system", "content": "Another."}])
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(json.dumps(other) + "\n")
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(GenPIError, match=r"several prompts, or tools, under the id 'shop'.*row 3"):
        held_out(cfg, tmp_path / "a.txt", None)


def test_inputs_of_every_training_set_count_as_trained_on(tmp_path, cfg):
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps(our_row(input="four")) + "\n")
    (tmp_path / "a.txt").write_text("four\nfive\n")
    ours = {"path": str(more), "type": "genpi_plugin.strategy"}
    chat = {"path": str(tmp_path / "chat.jsonl"), "type": "chat_template"}
    both = {**cfg, "datasets": [chat, *cfg["datasets"], ours]}
    assert held_out(both, tmp_path / "a.txt", None).in_training == 1
    both["test_datasets"] = [{**ours, "split": "train"}, *cfg["datasets"]]
    data = held_out(both, None, None)
    assert data.inputs == ["four"]
    assert "train.jsonl" in data.notes[0]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("latin.jsonl", json.dumps(our_row(input="café"), ensure_ascii=False).encode("latin-1"),
         "row 0: a text is not UTF-8"),
        ("broken.jsonl", b'{"a": 1}\n{"a":', "JSON parse error"),
        ("half.jsonl", json.dumps(our_row(input="a\ud83d")).encode(), "surrogate"),
        ("empty.jsonl", b"", "it is empty"),
        ("dates.jsonl", json.dumps(our_row(input="2024-01-01T10:00:00Z")).encode(),
         "look like dates"),
    ],
)  # fmt: skip
def test_a_data_file_that_can_not_be_read_is_named_with_the_reason(tmp_path, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(GenPIError, match=says) as caught:
        held_out({"datasets": [{"path": str(path)}]}, tmp_path / "a.txt", None)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["rows.ndjson", "rows.jsonl.gz"])
def test_data_files_are_read_as_axolotl_reads_them(tmp_path, cfg, name):
    line = json.dumps(our_row(input="four")).encode()
    (tmp_path / name).write_bytes(gzip.compress(line) if name.endswith(".gz") else line)
    entry = {"path": str(tmp_path / name), "split": "train"}
    assert held_out({**cfg, "test_datasets": [entry]}, None, None).inputs == ["four"]


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
    with pytest.raises(GenPIError, match=r"several prompts, or tools, under the id 'shop'"):
        held_out_rows(tmp_path, [our_row()], [our_row(tools=None), other])


def test_logs_are_asked_with_their_history_and_known_by_their_ids(tmp_path, cfg):
    [row] = [json.loads(line) for line in (tmp_path / "train.jsonl").open()][:1]
    log = [*row["prompt"], *CALLING[:3], {"role": "assistant", "content": "Done."},
           {"role": "user", "content": "Thanks."}]  # fmt: skip
    path = tmp_path / "logs.json"
    path.write_text(json.dumps([{"id": "l", "messages": log}, {"id": "m", "input": "one"}]))
    data = held_out(cfg, path, None)
    assert data.asked == [CALLING[:1], CALLING[:3], log[len(row["prompt"]) :],
                          [{"role": "user", "content": "one"}]]  # fmt: skip
    assert data.ids == ["l-1", "l-2", "l-3", "m"]
    assert data.in_training == 1
    assert "took the task's prompt out of 1 of 1 logs" in data.notes[0]
    last = held_out(cfg, path, 1, Reading(answers="last"))
    assert (last.asked, last.ids) == ([CALLING[:3]], ["l"])
    path.write_text(json.dumps({"id": "l", "messages": log}, indent=1))
    kept = held_out(cfg, path, None, Reading(answers="keep"))
    assert kept.asked == [CALLING[:1]]
    assert kept.conversations == [[*CALLING[1:3], log[-2]]]
    path.write_text(json.dumps([{"messages": [{"role": "system", "content": "No."}, *CALLING]}]))
    with pytest.raises(GenPIError, match="do not have the task's prompt"):
        held_out(cfg, path, None)
