"""Logs of the application as inputs: what is asked, what is kept, and what the dataset holds."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import yaml

from genpi_plugin.data.all_rows import parse_all
from synth.dataset.holdout import held_out
from synth.engines.messages import as_messages
from synth.quality.dedup import joined
from tests.synth.cli.commands_run import TEST, TRAIN, run_command, synth
from tests.synth.scripted import PROMPT, shop, write_task
from tests.synth.server import serve

TOOLS = [{"type": "function", "function": {"name": "stock", "parameters": {"type": "object"}}}]
SYSTEM = {"role": "system", "content": PROMPT}


def says(role, content, **more):
    return {"role": role, "content": content, **more}


WORDS = ["red cotton shirts", "a desk lamp", "nine blue mugs", "some warm winter boots"]


def log(number):
    """A conversation with a call, whose prompt is the task's; no two are alike."""
    what = WORDS[number]
    call = {"id": f"c{number}", "type": "function",
            "function": {"name": "stock", "arguments": json.dumps({"item": number})}}  # fmt: skip
    turns = [
        says("user", f"find {what}"),
        says("assistant", f"search[item {number}]"),
        says("user", f"{what}: page {number}"),
        says("assistant", None, tool_calls=[call]),
        says("tool", f"{what}, {number} left", tool_call_id=f"c{number}"),
        says("assistant", f"click[buy {number}]"),
        says("user", f"thanks for {what}"),
    ]
    return {"id": f"talk-{number}", "messages": [SYSTEM, *turns], "tools": TOOLS}


@pytest.fixture
def server():
    with serve(lambda messages: shop(as_messages(messages)), models=None) as served:
        yield served


@pytest.fixture
def place(tmp_path):
    task = write_task(tmp_path / "t", tools="tools.json", split={"test": 0.25})
    (task / "tools.json").write_text(json.dumps(TOOLS))
    (tmp_path / "logs.jsonl").write_text("".join(json.dumps(log(n)) + "\n" for n in range(4)))
    return tmp_path


def rows_of(out):
    """Both splits as the plugin reads them, by id."""
    found = {}
    for split in (TRAIN, TEST):
        raw = pq.read_table(out / split).to_pylist() if (out / split).exists() else []
        found |= {row.id: (row, split) for row in parse_all(raw, split)}
    return found


def run(place, server, *more):
    out = place / "out"
    code, printed = synth(*run_command(place / "t", out, server, "--inputs", place / "logs.jsonl",
                                       *more))  # fmt: skip
    assert code == 0, printed
    return out, printed


def test_the_target_answers_at_each_turn_given_the_log_s_history(place, server):
    out, printed = run(place, server)
    rows = rows_of(out)
    assert set(rows) == {f"talk-{n}-{turn}" for n in range(4) for turn in range(1, 5)}
    row, _ = rows["talk-1-3"]
    messages = log(1)["messages"]
    assert row.request == [*messages[1:4], {**messages[4], "content": ""}, messages[5]]
    assert row.input == "a desk lamp, 1 left"
    assert row.conversation == [says("assistant", row.teacher_output)]
    teacher = [body for body in server.requests if body["messages"][0] == SYSTEM]
    [asked] = [body for body in teacher if body["messages"][-1] == messages[5]
               and len(body["messages"]) == 6]  # fmt: skip
    assert asked["messages"][1:4] == messages[1:4]
    assert asked["tools"] == TOOLS
    assert len(teacher) == 16  # nobody plays on
    assert "16 x one answer of a log" in " ".join(printed.split())
    # What is out of one log is trained on, or held out.
    splits = {row_id.rpartition("-")[0]: set() for row_id in rows}
    for row_id, (_, split) in rows.items():
        splits[row_id.rpartition("-")[0]].add(split)
    assert sorted(map(sorted, splits.values())) == [[TEST], [TRAIN], [TRAIN], [TRAIN]]
    notes = (out / "run.log").read_text()
    assert "took the task's prompt out of 4 of 4 logs" in notes
    assert "took the task's tools out of 4 of 4 logs" in notes


def test_last_asks_once_a_log(place, server):
    rows = rows_of(run(place, server, "--answers", "last")[0])
    assert {row_id: row.input for row_id, (row, _) in rows.items()} == {
        f"talk-{n}": f"{WORDS[n]}, {n} left" for n in range(4)
    }


def test_answers_that_are_kept_are_asked_of_nobody_and_said_to_be_off_policy(place, server):
    out, printed = run(place, server, "--answers", "keep")
    rows = rows_of(out)
    row, _ = rows["talk-2"]
    messages = log(2)["messages"]
    assert row.student_request == messages[1:2]
    assert row.conversation == [messages[2], messages[3], {**messages[4], "content": ""},
                                *messages[5:7]]  # fmt: skip
    assert row.teacher_output == "search[item 2]"
    assert row.can_recite  # floor and reason are the target's, as for any row
    assert row.floor_output.startswith("Sure")
    assert not [body for body in server.requests if body["messages"][0] == SYSTEM]
    said = "Off policy: the answers of 4 of 4 rows are those of the user's logs"
    assert said in " ".join(printed.split())
    card = (out / "README.md").read_text()
    assert said in card
    assert "| `teacher_output` | the first answer in the user's log" in card
    assert yaml.safe_load((out / "synth.yaml").read_text())["inputs_file"]["answers"] == "keep"
    code, printed = synth(*run_command(place / "t", out, server, "--inputs", place / "logs.jsonl"))
    assert code == 1
    assert "inputs_file.answers" in printed


@pytest.mark.parametrize("share", [0, 0.25])
def test_rows_that_need_no_answer_stay_and_a_second_run_writes_the_same(place, server, share):
    keep = ("--answers", "keep", "--set", f"reasons.share={share}")
    out, printed = run(place, server, *keep)
    names = {f"talk-{n}" for n in range(4)}
    rows = rows_of(out)
    assert set(rows) == names
    recited = sum(row.can_recite for row, _ in rows.values())
    assert 0 < recited < 4 if share else recited == 0
    written = {split: (out / split).read_bytes() for split in (TRAIN, TEST)}
    assert run(place, server, *keep)[0] == out
    assert {split: (out / split).read_bytes() for split in (TRAIN, TEST)} == written
    # Other logs are another dataset, also where nobody was ever asked.
    (place / "logs.jsonl").write_text("".join(json.dumps(log(n)) + "\n" for n in range(2)))
    code, printed = synth(*run_command(place / "t", out, server, "--inputs", place / "logs.jsonl",
                                       *keep))  # fmt: skip
    assert code == 1
    assert "inputs_file.sha256" in printed
    run(place, server, *keep, "--resume", "changed")
    assert set(rows_of(out)) == {"talk-0", "talk-1"}
    assert "Rows finished: 2 of" in synth("status", out)[1]


def test_a_log_s_single_request_is_as_a_text(place, server):
    logs = [{"messages": [SYSTEM, says("user", "find item 1")]}, {"input": "find item 2"}]
    (place / "logs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in logs))
    rows = [row for row, _ in rows_of(run(place, server)[0]).values()]
    assert [row.input for row in rows] == ["find item 1", "find item 2"]
    for row in rows:
        assert row.request == []
        assert len(row.conversation) > 1  # the environment plays on


def test_other_prompts_and_repeated_ids_are_told_before_anything_is_asked(place, server):
    other = log(0)
    other["messages"] = [says("system", "Be brief."), *other["messages"][1:]]
    twice = {**log(1), "id": "talk-2"}
    for logs, told in (([other], "- You are a shop agent."), ([log(2), twice], "'talk-2-1'")):
        (place / "logs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in logs))
        command = run_command(place / "t", place / "o", server, "--inputs", place / "logs.jsonl")
        for one in (command, ("preview", *command[1:2], *command[4:]),
                    ("preflight", *command[1:2], *command[4:])):  # fmt: skip
            code, printed = synth(*one)
            assert code == 1
            assert told in printed
    assert not server.requests


def test_preview_and_preflight_read_logs_too(place, server):
    arguments = (place / "t", "--model", "m", "--base-url", server.url, "-n", "5",
                 "--inputs", place / "logs.jsonl")  # fmt: skip
    code, printed = synth("preview", *arguments)
    assert code == 0, printed
    assert "talk-1-1" in printed
    assert "input, after 4 messages" in printed
    code, printed = synth("preflight", *arguments)
    assert code in (0, 3), printed
    for body in server.requests:
        assert [one["role"] for one in body["messages"]].count("system") <= 1


def test_rows_of_a_log_stay_together_and_a_few_long_logs_have_a_test_split():
    assert joined([0, 1, 2, 1], "abcc") == [0, 1, 1, 1]
    assert joined([0, 0, 2, 3], "abba") == [0, 0, 0, 0]
    heads = [0] * 12 + [12] * 12 + [24] * 9 + [33] * 12
    ids = list(map(str, range(45)))
    assert held_out(ids, 0.1, 0, heads) == set(ids[24:33])
    assert held_out(ids, 0.1, 0, [0] * 20 + [20] * 25) == set()
