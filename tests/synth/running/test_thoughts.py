"""Models that think, call tools or end in their own way, from the server to rows and report."""

from __future__ import annotations

import html
import json
from collections import Counter

import pyarrow.parquet as pq
import pytest

from synth.engines.messages import as_messages
from tests.synth.cli.test_cli import run_command, synth
from tests.synth.scripted import shop, stage_of, write_task
from tests.synth.server import Reply, serve

ALOUD = "<think>\nOkay, they want [END_CONVERSATION] or a lamp.\n</think>\n\n"
FIELDS = ("input", "floor_output", "teacher_output", "reason")
CALL = {"id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}
ENDED = "[END_CONVERSATION]"


def plain(messages):
    """`shop`, whose conversations end at the environment's second turn."""
    turns = as_messages(messages)
    talked = sum(turn.role == "assistant" for turn in turns)
    if stage_of(turns) == "environment" and talked > 1:
        return ENDED
    return shop(turns)


def stage(messages):
    return stage_of(as_messages(messages))


def made(tmp_path, answer, name="out", **task):
    """Run a task against a server; (exit code, what was printed, rows, the server, the folder)."""
    folder = tmp_path / name
    with serve(answer, models=None) as server:
        code, printed = synth(*run_command(write_task(tmp_path / "t", **task), folder, server))
    rows = [row for path in sorted((folder / "data").glob("*.parquet"))
            for row in pq.read_table(path).to_pylist()]  # fmt: skip
    return code, printed, rows, server, folder


def texts_of(row):
    return [row[name] for name in FIELDS] + [turn["content"] for turn in row["conversation"]]


THINKERS = {
    "inside": lambda text: ALOUD + text,
    "begun by the template": lambda text: ALOUD.removeprefix("<think>\n") + text,
    "beside": lambda text: Reply(text, message={"reasoning_content": "They want a lamp."}),
    "in a part": lambda text: Reply(
        [{"type": "thinking", "thinking": "They want a lamp."}, {"type": "text", "text": text}]
    ),
}


@pytest.mark.parametrize("how", THINKERS)
def test_thoughts_come_into_no_field_and_are_said_everywhere(tmp_path, how):
    _, _, silent, _, _ = made(tmp_path, plain, "silent")
    code, printed, rows, server, folder = made(tmp_path, lambda m: THINKERS[how](plain(m)))
    assert code == 0, printed
    # The same rows that a model gives which does not think.
    assert rows == silent
    asked = Counter("generator" if stage(body["messages"]) in ("inputs", "reasons", "environment")
                    else "target" for body in server.requests)  # fmt: skip
    told = {
        "target": f"Answers of the target that came with thoughts, which are not trained: "
        f"{asked['target']} of {asked['target']}.",
        "generator": f"Answers of the generator that came with thoughts, which go into no row: "
        f"{asked['generator']} of {asked['generator']}.",
    }
    report, card = ((folder / name).read_text() for name in ("report.html", "README.md"))
    for line in told.values():
        assert line in " ".join(printed.split())
        assert line in report
        assert line in card
    log = (folder / "run.log").read_text()
    assert log.count("The target thinks before it answers") == 1
    assert log.count("The generator thinks before it answers") == 1
    assert "enable_thinking" in log
    # Made again from what is stored, it says the same.
    synth("report", folder)
    assert (folder / "report.html").read_text() == report


def test_nothing_is_said_of_a_model_that_does_not_think(tmp_path):
    code, printed, _, _, folder = made(tmp_path, plain)
    assert code == 0
    words = printed + (folder / "run.log").read_text() + (folder / "README.md").read_text()
    assert "thought" not in words
    assert "thoughts" not in (folder / "run.json").read_text()


def test_what_is_sent_on_holds_no_thoughts(tmp_path):
    _, _, _, server, _ = made(tmp_path, lambda messages: ALOUD + plain(messages))
    sent = [message["content"] for body in server.requests for message in body["messages"]]
    assert not [text for text in sent if "think>" in text]


def test_an_end_marker_in_a_thought_ends_nothing(tmp_path):
    _, _, rows, _, folder = made(tmp_path, lambda messages: ALOUD + plain(messages))
    assert {len(row["conversation"]) for row in rows} == {3}
    assert ENDED in ALOUD
    assert "Conversations ended by: 4 x end marker" in (folder / "README.md").read_text()


def test_a_limit_used_up_by_thoughts_says_so(tmp_path):
    def answer(messages):
        if stage(messages) in ("floor", "teacher"):
            return Reply("<think>\nLet me see, a lamp is", "length")
        return plain(messages)

    code, printed, rows, _, _ = made(tmp_path, answer)
    assert (code, rows) == (1, [])
    assert "output cut by the token limit while it thought" in printed
    assert "enable_thinking" in printed
    code, printed, *_ = made(tmp_path, lambda m: Reply("<think>\nLet me", "length"), "inputs")
    assert code == 1
    assert "cut by the token limit while it thought" in printed
    assert "enable_thinking" in printed


CALLERS = {
    "without a text": lambda text: Reply(None, "tool_calls", {"tool_calls": [CALL]}),
    "beside a text": lambda text: Reply(text, "tool_calls", {"tool_calls": [CALL]}),
    "in the text": lambda text: f'<tool_call>\n{{"name": "search"}}\n</tool_call> {text}',
}
SAYS = {
    "without a text": "teacher output came to no text: it called the tool search",
    "beside a text": "teacher output calls the tool search",
    "in the text": "holds a tool call (<tool_call>)",
}


@pytest.mark.parametrize("how", CALLERS)
def test_a_tool_call_is_rejected_at_once_by_its_name(tmp_path, how):
    called = "find a lamp"

    def answer(messages):
        own = stage(messages) == "teacher" and called in messages[-1]["content"]
        return CALLERS[how](plain(messages)) if own else plain(messages)

    inputs = tmp_path / "in.txt"
    inputs.write_text(f"{called}\nfind a desk\n")
    with serve(answer, models=None) as server:
        command = run_command(write_task(tmp_path / "t"), tmp_path / "out", server)
        code, printed = synth(*command, "--inputs", inputs)
    assert code == 0, printed
    asked = [b for b in server.requests if b["messages"][-1]["content"] == called]
    assert len(asked) == 2  # the floor and the teacher, each once
    [rejected] = map(json.loads, (tmp_path / "out" / "rejected.jsonl").read_text().splitlines())
    assert rejected["reason"] == SAYS[how]
    card = html.unescape((tmp_path / "out" / "README.md").read_text()).replace("\\", "")
    assert f"1 x {SAYS[how]}" in card


def test_an_answer_of_as_many_tokens_as_allowed_is_no_whole_one(tmp_path):
    def answer(messages):
        text = plain(messages)
        if stage(messages) == "teacher" and "lamp" in messages[-1]["content"]:
            return Reply(text, "stop", usage={"prompt_tokens": 99, "completion_tokens": 1024})
        return text

    inputs = tmp_path / "in.txt"
    inputs.write_text("find a lamp\nfind a desk\n")
    with serve(answer, models=None) as server:
        command = run_command(write_task(tmp_path / "t"), tmp_path / "out", server)
        synth(*command, "--inputs", inputs)
    [rejected] = map(json.loads, (tmp_path / "out" / "rejected.jsonl").read_text().splitlines())
    assert rejected["reason"] == "teacher output cut by the token limit"


def test_preflight_names_a_model_that_thinks_and_the_cure(tmp_path):
    def thinking(target, generator):
        def answer(messages):
            own = stage(messages) in ("floor", "teacher")
            return (ALOUD if (target if own else generator) else "") + plain(messages)

        return answer

    def preflight(answer):
        with serve(answer, models=None) as server:
            return synth("preflight", write_task(tmp_path / "t"), "--model", "m",
                         "--base-url", server.url, "-n", 3)  # fmt: skip

    code, printed = preflight(thinking(True, False))
    assert code == 3
    assert "Against it: The target thinks: 6 of its 6 answers came with thoughts" in printed
    assert "--chat-template-kwargs '{\"enable_thinking\": false}'" in printed
    code, printed = preflight(thinking(False, True))
    assert code == 0
    assert "The generator thinks: 6 of its 6 answers" in printed
    assert "--generator-chat-template-kwargs" in printed


def test_a_thought_that_the_template_began_and_the_limit_cut_is_no_floor(tmp_path):
    """Nothing marks it: the target's other answer tells that the target thinks."""

    def answer(messages):
        if stage(messages) == "floor":
            return Reply("Okay, they want a lamp, so I would", "length")
        if stage(messages) == "teacher":
            return THINKERS["begun by the template"](plain(messages))
        return plain(messages)

    code, printed, rows, *_ = made(tmp_path, answer)
    assert code == 0, printed
    assert rows
    assert all(row["floor_output"] is None and row["reason"] is None for row in rows)
    said = " ".join(printed.split())
    assert "lost, their rows kept without: 4 of 4 (4 x floor output cut by the token limit" in said
