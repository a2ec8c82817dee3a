"""Models that think, call tools or end in their own way, from the server to rows and report."""

from __future__ import annotations

import html
import json
from collections import Counter

import pyarrow.parquet as pq
import pytest
import yaml

from synth.engines.messages import as_messages
from tests.synth.cli.commands_run import run_command, synth
from tests.synth.scripted import shop, stage_of, write_task
from tests.synth.server import Reply, serve
from tests.synth.tooled import CALL as TOOL_CALL
from tests.synth.tooled import write_tooled
from tests.tiny import CHATML, save_tiny

ALOUD = "<think>\nOkay, they want [END_CONVERSATION] or a lamp.\n</think>\n\n"
FIELDS = ("id", "input", "floor_output", "teacher_output", "reason")
THOUGHT = "Okay, they want [END_CONVERSATION] or a lamp."
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


def spoken(row):
    """What a row says, without the agent's thoughts, and its other turns."""
    turns = [(one["role"], one["content"].rpartition("</think>")[2].strip())
             for one in row["conversation"]]  # fmt: skip
    return [row[name] for name in FIELDS], turns


THINKERS = {
    "inside": lambda text: ALOUD + text,
    "begun by the template": lambda text: ALOUD.removeprefix("<think>\n") + text,
    "beside": lambda text: Reply(text, message={"reasoning_content": THOUGHT}),
    "beside, by another name": lambda text: Reply(text, message={"reasoning": THOUGHT}),
    "in a part": lambda text: Reply(
        [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": text}]
    ),
}


@pytest.mark.parametrize("how", THINKERS)
def test_thoughts_are_the_targets_answers_alone_and_are_said_everywhere(tmp_path, how):
    _, _, silent, _, _ = made(tmp_path, plain, "silent")
    code, printed, rows, server, folder = made(tmp_path, lambda m: THINKERS[how](plain(m)))
    assert code == 0, printed
    # The same rows that a model gives which does not think, but for the target's turns.
    assert list(map(spoken, rows)) == list(map(spoken, silent))
    agent = [one for row in rows for one in row["conversation"] if one["role"] == "assistant"]
    assert len(agent) > len(rows)
    for turn in agent:
        if (how.startswith("be") and "template" not in how) or how == "in a part":
            assert turn["reasoning_content"] == THOUGHT
            assert THOUGHT not in turn["content"]
        else:  # as it was sampled
            assert turn["content"].startswith(THINKERS[how]("")[:20])
            assert turn["reasoning_content"] is None
    others = [one["content"] for row in rows for one in row["conversation"]
              if one["role"] != "assistant"]  # fmt: skip
    assert THOUGHT not in json.dumps([[row[name] for name in FIELDS] for row in rows] + others)
    asked = Counter("generator" if stage(body["messages"]) in ("inputs", "reasons", "environment")
                    else "target" for body in server.requests)  # fmt: skip
    told = {
        "target": f"Answers of the target that came with thoughts, which are trained with them: "
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


@pytest.mark.parametrize("how", THINKERS)
def test_the_generator_is_sent_no_thoughts_and_the_target_its_own(tmp_path, how):
    _, _, rows, server, _ = made(tmp_path, lambda messages: THINKERS[how](plain(messages)))
    sent = {"target": "", "generator": ""}
    for body in server.requests:
        own = stage(body["messages"]) in ("floor", "teacher")
        sent["target" if own else "generator"] += json.dumps(body["messages"])
    assert "lamp." not in sent["generator"]
    assert "think>" not in sent["generator"]
    # As a client sends back what it got.
    turns = [one for row in rows for one in row["conversation"] if one["role"] == "assistant"]
    assert len(turns) > len(rows)
    assert THOUGHT in sent["target"]


OFF = {"thinking": "off"}


@pytest.mark.parametrize("how", THINKERS)
def test_with_thinking_off_an_answer_that_thinks_is_rejected_and_counted(tmp_path, how):
    inputs = tmp_path / "in.txt"
    inputs.write_text("find a lamp\nfind a desk\n")

    def answer(messages):
        own = stage(messages) in ("floor", "teacher")
        thinks = own and "lamp" in messages[-1]["content"]
        return THINKERS[how](plain(messages)) if thinks else plain(messages)

    with serve(answer, models=None) as server:
        command = run_command(write_task(tmp_path / "t", **OFF), tmp_path / "out", server)
        code, printed = synth(*command, "--inputs", inputs)
    assert code == 0, printed
    [rejected] = map(json.loads, (tmp_path / "out" / "rejected.jsonl").read_text().splitlines())
    assert rejected["reason"] == "teacher output thinks though `thinking: off`"
    assert "enable_thinking" in rejected["detail"]
    assert "1 x teacher output thinks" in (tmp_path / "out" / "README.md").read_text()
    log = (tmp_path / "out" / "run.log").read_text()
    assert log.count("thinks though `thinking: off`: such answers are rejected.") == 1


def test_with_thinking_off_a_later_turn_that_thinks_ends_its_conversation(tmp_path):
    def answer(messages):
        later = stage(messages) == "teacher" and len(messages) > 2
        return (ALOUD if later else "") + plain(messages)

    code, printed, rows, *_ = made(tmp_path, answer, **OFF)
    assert code == 0, printed
    assert {len(row["conversation"]) for row in rows} == {1}
    assert "4 x agent turn thinks though `thinking: off`" in " ".join(printed.split())


def test_with_thinking_off_a_floor_that_thinks_costs_the_reason_alone(tmp_path):
    thinks = {"floor": ALOUD}
    code, printed, rows, *_ = made(tmp_path, lambda m: thinks.get(stage(m), "") + plain(m), **OFF)
    assert code == 0, printed
    assert len(rows) == 4
    assert not any(row["reason"] or row["floor_output"] for row in rows)
    assert "4 x floor output thinks though `thinking: off`" in " ".join(printed.split())


def test_with_thinking_off_an_empty_block_is_no_thought(tmp_path):
    empty = "<think>\n\n</think>\n\n"
    code, printed, rows, *_ = made(tmp_path, lambda m: empty + plain(m), **OFF)
    assert code == 0, printed
    assert all("think" not in row["teacher_output"] for row in rows)
    # It was sampled, and is trained.
    assert all(row["conversation"][0]["content"].startswith(empty) for row in rows)


def test_thoughts_that_the_prompt_asks_for_are_no_less_thoughts_when_they_are_off(tmp_path):
    asks = "You are a shop agent. Answer with <think>why</think> and one action: search[words]."

    def answer(messages):
        if asks in messages[0]["content"] and stage(messages) == "floor":
            return "<think>They want it.</think>search[lamp]"
        return plain(messages)

    code, printed, rows, *_ = made(tmp_path, answer, prompt=asks)
    assert code == 0, printed
    assert rows[0]["teacher_output"].startswith("<think>")
    code, printed, rows, *_ = made(tmp_path, answer, "off", prompt=asks, **OFF)
    assert (code, rows) == (1, [])
    assert "teacher output thinks though `thinking: off`" in " ".join(printed.split())
    assert "The prompt itself asks for <think>" in " ".join(printed.split())


def test_thoughts_that_a_server_counts_and_does_not_show_are_said_to_be_untrained(tmp_path):
    usage = {"prompt_tokens": 99, "completion_tokens": 9,
             "completion_tokens_details": {"reasoning_tokens": 7}}  # fmt: skip
    code, printed, rows, _, folder = made(tmp_path, lambda m: Reply(plain(m), usage=usage))
    assert code == 0, printed
    assert rows[0]["conversation"][0]["reasoning_content"] is None
    assert (folder / "run.log").read_text().count("counts thoughts that it does not show") == 1


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


def test_preflight_says_what_becomes_of_thoughts(tmp_path):
    def thinking(target, generator):
        def answer(messages):
            own = stage(messages) in ("floor", "teacher")
            return (ALOUD if (target if own else generator) else "") + plain(messages)

        return answer

    def preflight(answer, *more, **task):
        with serve(answer, models=None) as server:
            return synth("preflight", write_task(tmp_path / "t", **task), "--model", "m",
                         "--base-url", server.url, "-n", 3, *more)  # fmt: skip

    code, printed = preflight(thinking(True, False))
    assert code == 0, printed
    assert "The target thinks: 6 of its 6 answers came with thoughts, which are trained" in printed

    def half(messages):  # the teacher alone thinks
        return (ALOUD if stage(messages) == "floor" else "") + plain(messages)

    code, printed = preflight(half, **OFF)
    assert code == 3
    assert "Against it: The target thinks though `thinking: off`: 3 of its 6 answers" in printed
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


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        ("reasons", "4 x reason cut by the token limit while it thought"),
        ("environment", "4 x environment turn cut by the token limit while it thought"),
        ("later", "4 x agent turn cut by the token limit while it thought"),
    ],
)
def test_a_limit_used_up_by_thoughts_says_so_in_later_stages_too(tmp_path, cut, says):
    def answer(messages):
        later = stage(messages) == "teacher" and len(messages) > 2
        if stage(messages) == cut or (later and cut == "later"):
            return Reply("<think>\nLet me see, a lamp is", "length")
        return plain(messages)

    code, printed, rows, *_ = made(tmp_path, answer)
    assert (code, len(rows)) == (0, 4), printed
    assert says in " ".join(printed.split())


def test_what_switched_thinking_off_is_in_the_folder_and_in_the_next_step(tmp_path):
    model = save_tiny(tmp_path / "m")
    (model / "chat_template.jinja").write_text(
        CHATML + "{% if add_generation_prompt and thinking is false %}<think></think>{% endif %}"
    )
    with serve(lambda m: Reply(plain(m), usage={}), models=None) as server:
        command = run_command(write_task(tmp_path / "t", **OFF), tmp_path / "out", server)
        code, printed = synth(*command, "--tokenizer", model)
    assert code == 0, printed
    assert 'chat_template_kwargs: {"thinking": false}' in printed
    target = yaml.safe_load((tmp_path / "out" / "synth.yaml").read_text())["target"]
    assert target["chat_template_kwargs"] == {"thinking": False}
    asked = {stage(body["messages"]): body.get("chat_template_kwargs") for body in server.requests}
    assert asked["teacher"] == asked["floor"] == {"thinking": False}
    # The generator may think.
    assert asked["inputs"] is asked["reasons"] is asked["environment"] is None


def test_who_plays_a_tool_is_shown_no_thoughts(tmp_path):
    def answer(messages):
        first, last = messages[0]["content"], messages[-1]
        if first.startswith("Play a tool"):
            return '{"there": 2}'
        if first.startswith("Play a part"):
            return "And a desk?"
        if last["role"] == "tool" or "desk" not in last["content"]:
            return f"{ALOUD}There are some."
        return f"{ALOUD}Let me see.\n{TOOL_CALL.replace('stock_of', 'order')}"

    task = write_tooled(tmp_path / "t", conversations={"max_turns": 3, "environment": "a customer"})
    (tmp_path / "in.txt").write_text("a lamp?\n")
    with serve(answer, models=None) as server:
        code, printed = synth(*run_command(task, tmp_path / "out", server,
                                           "--inputs", tmp_path / "in.txt"))  # fmt: skip
    assert code == 0, printed
    [asked] = [body["messages"][-1]["content"] for body in server.requests
               if body["messages"][0]["content"].startswith("Play a tool")]  # fmt: skip
    assert (
        'Agent: There are some.\nUser: And a desk?\nAgent: Let me see.\n{"name": "order"' in asked
    )
    assert "think" not in asked
    assert THOUGHT not in asked
