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
        left, read, behind = calls_apart(text, TOOLS)
        assert [(call.name, call.arguments) for call in read] == [("stock_of", ARGUMENTS)] * calls
        assert (left, behind) == ("", "")
        assert [call.name for call in read_calls(text, TOOLS)] == ["stock_of"] * calls


def test_enough_templates_write_calls():
    assert sum(written_by(name, 1) is not None for name in names()) >= 30


@pytest.mark.parametrize(
    ("text", "left", "calls"),
    [
        (f"Let me look.\n<tool_call>\n{JSON}\n</tool_call>", "Let me look.", [SOCKS]),
        (f"I call {JSON}", "I call", [SOCKS]),
        (f"I call\n```json\n{JSON}\n```", "I call", [SOCKS]),
        (f"```json\n{JSON}\n```", "", [SOCKS]),
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
        ('```json\n{"name": "rex", "arguments": {}}\n```', None, []),
        (f"I would call it like this: {JSON} - shall I?", None, []),
        ("[1, 2] and [see here]", None, []),
        ("{not: json}", None, []),
    ],
)  # fmt: skip
def test_calls_stand_apart_from_the_text(text, left, calls):
    assert calls_apart(text, TOOLS) == (text if left is None else left, calls, "")


@pytest.mark.parametrize(
    ("text", "left", "calls", "behind"),
    [
        (f"{JSON} Sure.", "Sure.", 1, "Sure."),
        (f"A.\n<tool_call>\n{JSON}\n</tool_call>\nWait.", "A.\nWait.", 1, "Wait."),
        (f"A.<tool_call>{JSON}</tool_call>B.<tool_call>{JSON}</tool_call>", "A.B.", 2, "B."),
        (f"So:\n```json\n{JSON}\n```\nShall I?", "So:\nShall I?", 1, "Shall I?"),
        (f"<tool_call>{JSON}</tool_call>Not {JSON}, no.", f"Not {JSON}, no.", 1,
         f"Not {JSON}, no."),
    ],
)  # fmt: skip
def test_what_stands_behind_a_call_is_told(text, left, calls, behind):
    apart = calls_apart(text, TOOLS)
    assert ("".join(apart.text.split()), apart.behind) == ("".join(left.split()), behind)
    assert apart.calls == [SOCKS] * calls


NOTE = {
    "type": "function",
    "function": {
        "name": "note",
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "n": {"type": "integer"}},
        },
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "<function=note>\n<parameter=id>\n12345\n</parameter>\n<parameter=n>2</parameter></function>",
        '<function=note>{"id": "12345", "n": 2}</function>',
        '<invoke name="note"><parameter name="id">12345</parameter>'
        '<parameter name="n">2</parameter></invoke>',
        "<tool_call>note\n<arg_key>id</arg_key>\n<arg_value>12345</arg_value>\n"
        "<arg_key>n</arg_key>\n<arg_value>2</arg_value></tool_call>",
    ],
)
def test_a_text_stays_a_text_where_the_schema_says_so(text):
    for read in (read_calls(text, [NOTE]), calls_apart(text, [NOTE]).calls):
        assert read == [Call("note", {"id": "12345", "n": 2})]
    # Of a tool that is not there nothing is known.
    assert read_calls(text, TOOLS)[0].arguments["n"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "<function=note>\n<parameter=id>\n12345\n</function>",
        "<function=note><parameter=id>1<parameter=n>2</parameter></function>",
        '<function=note>{"id": "12345"</function>',
        '<invoke name="note"><parameter name="id">12345</invoke>',
        "<tool_call>note\n<arg_key>id</arg_key>\n<arg_value>1\n</tool_call>",
        '<tool_call>{"name": "note", "arguments": {"n": NaN}}</tool_call>',
    ],
)
def test_arguments_with_a_rest_that_is_none_are_malformed(text):
    assert calls_apart(text, [NOTE]) == (text, [], "")
    assert read_calls(text, [NOTE]) == []
    assert broken_call(text, [NOTE])


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ('{"name": "Ann Smith", "email": "ann@x.org"}', False),
        ('[{"name": "Ann"}, {"name": "Bob"}]', False),
        ('{"function": "chair", "legs": 4}', False),
        (' {"name": "Ann Smith", "email": "ann', True),
        ('{"name": "note", "args": {}}', True),
        ('{"function": {"name": "note"}}', True),
    ],
)
def test_a_json_answer_is_no_broken_call(text, broken):
    assert calls_apart(text, [NOTE]) == (text, [], "")
    assert bool(broken_call(text, [NOTE])) == broken


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
    assert broken_call(calls_apart(text, TOOLS).text, TOOLS) == begun


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


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"properties": {"x": {"$ref": "#/$defs/gone"}}}, "its $ref '#/$defs/gone' leads nowhere"),
        ({"properties": {"x": {"$ref": "https://nowhere.invalid/a.json"}}}, "leads nowhere"),
        ({"items": [{"$ref": "#gone"}], "$schema": "http://json-schema.org/draft-07/schema#"},
         "its $ref '#gone'"),
    ],
)  # fmt: skip
def test_a_schema_that_leads_nowhere_is_said_and_allows_everything(parameters, words):
    tool = {"type": "function", "function": {"name": "a", "parameters": parameters}}
    assert words in schema_fault(tool)
    assert Schemas([tool]).fault("a", {"x": "1"}) == ("", "")


def test_references_inside_a_schema_are_followed():
    parameters = {
        "$id": "https://shop.example/order.json",
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/word"}, "$ref": {"type": "string"}},
        "$defs": {
            "word": {"type": "string", "default": {"$ref": "no reference"}},
            "tree": {"type": "object", "additionalProperties": {"$ref": "#/$defs/tree"}},
        },
    }
    tool = {"type": "function", "function": {"name": "a", "parameters": parameters}}
    assert schema_fault(tool) == ""
    assert Schemas([tool]).fault("a", {"x": "1", "$ref": "2"}) == ("", "")
    assert Schemas([tool]).fault("a", {"x": 1})[1] == "$.x: 1 is not of type 'string'"
    endless = {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}}
    tool = {"type": "function", "function": {"name": "a", "parameters": endless}}
    assert Schemas([tool]).fault("a", {})[1] == "It is nested too deep to be checked."
