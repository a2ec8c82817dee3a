"""Calls read from answers as templates write them, and scored against the teacher's by value."""

from __future__ import annotations

import json

import pytest

from genpi_plugin.data.chat import ChatView
from genpi_plugin.evaluation.figures.call_scores import Call, call_scores, read_calls
from tests.genpi_plugin.data.templates_walked import ARGUMENTS, CALLING, TOOLS, names, tokenizer_of


def written(*calls: tuple[str, dict], text: str = "") -> str:
    tags = [json.dumps({"name": name, "arguments": given}) for name, given in calls]
    return text + "".join(f"<tool_call>\n{tag}\n</tool_call>" for tag in tags)


RIGHT = written(("stock_of", {"item": "socks", "size": 27}))


@pytest.mark.parametrize(
    "name",
    ["axolotl/qwen_25", "trl/qwen3", "trl/llama3_1", "axolotl/mistral_v2v3", "axolotl/jamba",
     "trl/glm4moe_training", "trl/nemotron_3_nano", "trl/qwen3_5_nothink"],
)  # fmt: skip
def test_calls_are_read_as_the_templates_write_them(name):
    view = ChatView(tokenizer_of(names()[name].read_text("utf-8")), {"enable_thinking": False})
    for calls in (1, 2):
        answer = json.loads(json.dumps(CALLING[1]))
        answer["tool_calls"] *= calls
        if calls == 2 and "llama" in name:
            continue  # takes one call only
        _, ids = view.request_and_answer(CALLING[:1], answer, TOOLS)
        text = view.tokenizer.decode(ids, skip_special_tokens=True)
        assert read_calls(text) == [Call("stock_of", ARGUMENTS)] * calls


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RIGHT, (1, 1, 1)),
        (written(("stock_of", {"size": 27.0, "item": "socks"}), text="Let me look."), (1, 1, 1)),
        (
            '{"name": "stock_of", "parameters": "{\\"size\\": 27, \\"item\\": \\"socks\\"}"}',
            (1, 1, 1),
        ),
        (written(("stock_of", {"item": "hats"})), (1, 1, 0)),
        (written(("price_of", {"item": "socks"})), (1, 0, 0)),
        (written(("stock_of", {"item": "socks", "size": 27}), ("price_of", {})), (1, 0, 0)),
        (written(("stock_of", {"size": "27"})), (0, 0, 0)),
        (written(("sell", {"item": "socks"})), (0, 0, 0)),
        ('{"name": "stock_of", "arguments": "socks"}', (0, 0, 0)),
        ('<tool_call>\n{"name": "stock_of", "argum', (0, 0, 0)),
        ("Two pairs. {not: json}", (0, 0, 0)),
    ],
)
def test_scores_are_each_stricter_than_the_one_before(answer, expected):
    price = {"type": "function", "function": {"name": "price_of"}}
    scores = call_scores([*TOOLS, price])
    assert tuple(score(answer, RIGHT) for score in scores.values()) == expected


def test_no_call_is_right_where_the_teacher_makes_none():
    scores = call_scores(TOOLS).values()
    assert [score("Two.", "There are two.") for score in scores] == [1, 1, 1]
    assert [score(RIGHT, "There are two.") for score in scores] == [0, 0, 0]
