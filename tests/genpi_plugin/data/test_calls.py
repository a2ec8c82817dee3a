"""Calls read from answers, as every shipped template writes them and as other models do."""

from __future__ import annotations

import copy
import json

import pytest

from genpi_plugin.data.calls import Call, broken_call, calls_apart, read_calls
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.schemas import Schemas, schema_fault
from genpi_plugin.errors import TemplateError
from tests.genpi_plugin.data.templates_walked import (
    ARGUMENTS,
    CALL,
    CALLING,
    TOOLS,
    names,
    tokenizer_of,
)

SOCKS = Call("stock_of", ARGUMENTS)
JSON = json.dumps({"name": "stock_of", "arguments": ARGUMENTS})


def written_by(name: str, calls: int) -> str | None:
    """What a template writes for an answer with so many calls; None where it writes none, or
    another number."""
    view = ChatView(tokenizer_of(names()[name].read_text("utf-8")), {"enable_thinking": False})
    answer = copy.deepcopy(CALLING[1])
    answer["tool_calls"] = [{**CALL, "id": f"c0000000{number}"} for number in range(calls)]
    try:
        _, ids = view.request_and_answer(CALLING[:1], answer, TOOLS)
    except TemplateError:
        return None
    end = view.tokenizer.decode(ids[-1:])
    text = view.tokenizer.decode(ids, skip_special_tokens=False).strip().removesuffix(end)
    return None if "gptoss" in name and calls > 1 else text


@pytest.mark.parametrize("name", sorted(names()))
def test_calls_are_read_as_the_templates_write_them(name):
    for calls in (1, 2):
        text = written_by(name, calls)
        if text is None:
            continue
        left, read = calls_apart(text, {"stock_of"})
        assert [(call.name, call.arguments) for call in read] == [("stock_of", ARGUMENTS)] * calls
        assert left == ""
        assert [call.name for call in read_calls(text)] == ["stock_of"] * calls


def test_enough_templates_write_calls():
    assert sum(written_by(name, 1) is not None for name in names()) >= 30


@pytest.mark.parametrize(
    ("text", "left", "calls"),
    [
        (f"Let me look.\n<tool_call>\n{JSON}\n</tool_call>", "Let me look.", [SOCKS]),
        (f"{JSON} Sure.", "Sure.", [SOCKS]),
        (f"I call {JSON}", "I call", [SOCKS]),
        ('[TOOL_CALLS]a[ARGS]{"x": 1}', "", [Call("a", {"x": 1})]),
        ('[TOOL_CALLS]a[CALL_ID]abc123def[ARGS]{}[TOOL_CALLS]b{}', "",
         [Call("a", {}, "abc123def"), Call("b", {})]),
        ('[TOOL_CALLS] [{"name": "a", "arguments": {}, "id": "abc123def"}]', "",
         [Call("a", {}, "abc123def")]),
        ("Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>a\n"
         '```json\n{"x": 1}\n```'
         "<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "Hm.", [Call("a", {"x": 1})]),
        ('<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>a<｜tool▁sep｜>{"x": 1}<｜tool▁call▁end｜>'
         "<｜tool▁calls▁end｜>", "", [Call("a", {"x": 1})]),
        ("<|tool_calls_section_begin|><|tool_call_begin|>functions.a:0<|tool_call_argument_begin|>"
         '{"x": 1}<|tool_call_end|><|tool_calls_section_end|>', "",
         [Call("a", {"x": 1}, "functions.a:0")]),
        ('<|channel|>commentary to=functions.a <|constrain|>json<|message|>{"x": 1}', "",
         [Call("a", {"x": 1})]),
        ('<|tool_call_start|>[a(x="1", n=[1, 2]), b.c()]<|tool_call_end|>', "",
         [Call("a", {"x": "1", "n": [1, 2]}), Call("b.c", {})]),
        ('<minimax:tool_call>\n<invoke name="a">\n<parameter name="x">1</parameter>\n</invoke>\n'
         "</minimax:tool_call>", "", [Call("a", {"x": 1})]),
        ('<|python_tag|>{"name": "a", "parameters": {}}; {"name": "b", "parameters": {}}', "",
         [Call("a", {}), Call("b", {})]),
        ('<tool_call>{"name": "a", "arguments": "x"}</tool_call>', "", [Call("a", None)]),
        # No calls, whatever they look like.
        ('A dog: {"name": "rex", "parameters": {}}', None, []),
        ('See\n```json\n{"name": "rex", "arguments": {}}\n```', None, []),
        ("[1, 2] and [see here]", None, []),
        ("{not: json}", None, []),
    ],
)  # fmt: skip
def test_calls_stand_apart_from_the_text(text, left, calls):
    assert calls_apart(text, {"stock_of"}) == (text if left is None else left, calls)


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ('<tool_call>\n{"name": "a", "argum\n</tool_call>', "<tool_call>"),
        (f'<tool_call>{JSON}</tool_call>\n<tool_call>{{"name": "a", </tool_call>', '{"name":'),
        ("Wait. <tool_call>\n", "<tool_call>"),
        ('{"name": "stock_of", "parameters": {"item"', '{"name":'),
        ("<function=stock_of>\n<parameter=item>\nsocks", "<function="),
        ("There are two pairs of {socks}.", ""),
    ],
)
def test_what_begins_a_call_and_is_none_is_seen(text, begun):
    assert broken_call(calls_apart(text, {"stock_of"})[0]) == begun


def test_a_call_is_held_to_its_schema():
    schemas = Schemas(TOOLS)
    assert schemas.fault("stock_of", ARGUMENTS) == ("", "")
    assert schemas.fault("price_of", {})[0] == "calls a tool that is not there (price_of)"
    assert "no JSON object" in schemas.fault("stock_of", None)[0]
    reason, detail = schemas.fault("stock_of", {"item": "socks", "size": "27"})
    assert reason == "calls a tool with arguments that do not fit its schema (stock_of)"
    assert detail == "$.size: '27' is not of type 'integer'"


def test_a_schema_that_is_none_is_said_and_allows_everything():
    tool = {"type": "function", "function": {"name": "a", "parameters": {"type": "objekt"}}}
    assert schema_fault(tool).startswith("parameters.type: 'objekt' is not valid")
    assert schema_fault(TOOLS[0]) == ""
    assert Schemas([tool]).fault("a", {"x": 1}) == ("", "")
