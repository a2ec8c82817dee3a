"""Calls in answers: read where they stand in the text, given ids, judged by the task's tools."""

import asyncio
import json

import pytest

from synth.engines.base import Answer, Message, Request, Sampling, ToolCall
from synth.engines.chat import Chat
from synth.errors import RowError, TaskError
from synth.quality.calls import BEHIND, call_fault, calls_apart, said
from synth.quality.chosen import Filters, chosen_filters
from synth.stages.inputs import new_row
from synth.stages.outputs import outputs
from synth.stages.stage import Ask
from synth.stages.talk import ask_for
from synth.stages.turns import turn_of
from synth.task.taskfile import load_task
from tests.synth.scripted import Scripted
from tests.synth.tooled import CALL, TOOLS, calling, tooled, write_tooled
from tests.tiny import TOOLS as HERMES
from tests.tiny import make_tokenizer

TEXT = json.dumps(TOOLS)
ASKED = (Message("user", "A lamp?"),)


def request(*messages, tools=TEXT):
    return Request(messages or ASKED, Sampling(), tools=tools)


def test_a_call_in_the_text_is_taken_apart_and_the_tokens_stay():
    answer = Answer(f"Let me look.\n{CALL}", "stop", token_ids=(5, 6), tokenizer="t")
    found = calls_apart(answer, request())
    assert found.text == "Let me look."
    assert found.tool_calls == (ToolCall("call00001", "stock_of", '{"item": "lamp"}'),)
    assert (found.written, found.token_ids) == (None, (5, 6))
    assert said(found) == 'Let me look.\n{"name": "stock_of", "arguments": {"item": "lamp"}}'


def test_without_tools_a_text_is_a_text():
    answer = Answer(CALL, "stop")
    assert calls_apart(answer, request(tools="")) is answer


def test_ids_follow_from_the_conversation_and_are_its_own():
    before = Message("assistant", "", tool_calls=(ToolCall("call00002", "order", "{}"),))
    result = Message("tool", "1", tool_call_id="call00002")
    found = calls_apart(Answer(f"{CALL}\n{CALL}", "stop"), request(*ASKED, before, result))
    assert [call.id for call in found.tool_calls] == ["call00003", "call00004"]
    # A server's ids stay, unless one is missing or taken.
    given = tuple(ToolCall(name, "order", "{}") for name in ("x", "x", "", "call00002"))
    found = calls_apart(Answer("", "stop", tool_calls=given), request(*ASKED, before, result))
    assert [call.id for call in found.tool_calls] == ["x", "call00003", "call00004", "call00005"]


@pytest.mark.parametrize(
    ("calls", "text", "reason"),
    [
        ([("stock_of", '{"item": "lamp"}')], "", ""),
        ([], "There are two.", ""),
        ([("sell", "{}")], "", "calls a tool that is not there (sell)"),
        ([("order", '{"item": "lamp", "count": "2"}')], "", "do not fit its schema (order)"),
        ([("order", "{}")], "", "do not fit its schema (order)"),
        ([], '<tool_call>\n{"name": "stock_of"', "malformed call"),
    ],
)
def test_calls_are_judged_by_the_tools(calls, text, reason):
    made = [ToolCall(str(number), *call) for number, call in enumerate(calls)]
    found, detail = call_fault(text, made, TEXT)
    assert (reason in found) if reason else found == ""
    assert bool(detail) == bool(found)


def first_answer(task, answer):
    """The row behind `outputs` and its filters."""
    target = Scripted(lambda messages, seed: answer)

    async def generate(request):
        return calls_apart(await target.generate(request), request)

    row = asyncio.run(outputs(new_row(task, 0, "A lamp?"), Ask(generate, generate, task, 0)))
    return Filters(chosen_filters(task)).check(row, "outputs")


def test_a_first_answer_may_call_tools(tmp_path):
    row = first_answer(tooled(tmp_path), Answer(CALL, "stop"))
    assert row.teacher_output == '{"name": "stock_of", "arguments": {"item": "lamp"}}'
    [turn] = row.conversation
    assert (turn.content, turn.tool_calls[0].name) == ("", "stock_of")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (calling("sell"), r"teacher output calls a tool that is not there \(sell\)"),
        (calling("order", count="x", item="a"), "arguments that do not fit its schema"),
        (Answer("", "stop", tool_calls=(ToolCall("", "order", '{"item'),)), "no JSON object"),
        (Answer('<tool_call>\n{"name": "stock_of", "ar', "stop"), "malformed call"),
        (Answer(CALL, "length"), "cut by the token limit"),
    ],
)
def test_a_first_answer_with_a_bad_call_is_rejected(tmp_path, answer, reason):
    with pytest.raises(RowError, match=reason):
        first_answer(tooled(tmp_path), answer)


def test_the_filter_can_be_switched_off(tmp_path):
    row = first_answer(tooled(tmp_path, filters=[]), calling("sell"))
    assert row.conversation[0].tool_calls[0].name == "sell"


def test_without_tools_a_call_is_a_fault_as_ever(tmp_path):
    with pytest.raises(RowError, match="it called the tool sell"):
        first_answer(tooled(tmp_path, tools=None), calling("sell"))


def test_a_call_is_an_action(tmp_path):
    task = tooled(tmp_path, outputs={"require_action": True})
    assert first_answer(task, calling("order", item="lamp")).conversation
    with pytest.raises(RowError, match="without a well-formed action"):
        first_answer(task, Answer("Sure.", "stop"))
    with pytest.raises(TaskError, match="needs an action_pattern, or tools"):
        load_task(str(write_tooled(tmp_path / "b", tools=None, outputs={"require_action": True})))


MORE = f"Let me look.\n{CALL}\nPlease wait a moment."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (MORE, "teacher output goes on behind its call"),
        (f"First.{CALL}Second.{CALL}", "teacher output goes on behind its call"),
        (f'{CALL}\n<tool_call>{{"name": "stock_of", "ar', "teacher output writes a malformed call"),
        (CALL.replace("lamp", "\\ud800"), "calls a tool with characters that no row can hold"),
        (CALL.replace("lamp", "\\u0000"), r"with characters that no row can hold"),
    ],
)
@pytest.mark.parametrize("filters", [None, []])
def test_what_no_row_can_hold_is_rejected_whatever_the_filters(tmp_path, answer, reason, filters):
    task = tooled(tmp_path, **({} if filters is None else {"filters": filters}))
    with pytest.raises(RowError, match=reason) as caught:
        first_answer(task, Answer(answer, "stop"))
    caught.value.detail.encode()


JSON = CALL.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
ANSWERS = {
    "There are two.": "",
    f"Let me look.\n{CALL}": "",
    f"Both.\n{CALL}\n{CALL}": "",
    f"I call {JSON}": "",
    f"I call\n```json\n{JSON}\n```": "",
    f"I would call it like this: {JSON} - shall I?": "",
    '<function=order>\n<parameter=item>\n007\n</parameter>\n</function>': "",
    MORE: BEHIND,
    f"First.{CALL}Second.{CALL}": BEHIND,
    f"{JSON} Please wait.": BEHIND,
}  # fmt: skip


@pytest.mark.parametrize("text", ANSWERS)
def test_a_turn_that_is_kept_has_the_tokens_it_was_sampled_as(text):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = HERMES
    chat = Chat(tokenizer, {}, "m")
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) + tuple(chat.end_ids(None))
    sampled = Answer(text, "stop", token_ids=ids, tokenizer="t")

    async def generate(_):
        return calls_apart(sampled, request())

    answer, fault = asyncio.run(ask_for(generate, request()))
    turn = turn_of(answer)
    assert fault == ANSWERS[text]
    if text == MORE:  # it would stop the training
        with pytest.raises(RowError, match="other tokens than its text"):
            chat.answer_ids(request(), turn.message, turn.token_ids)
    if not fault:
        assert chat.answer_ids(request(), turn.message, turn.token_ids) == list(ids)
