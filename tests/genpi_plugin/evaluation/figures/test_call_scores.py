"""Calls in answers, scored against the teacher's by value."""

from __future__ import annotations

import json

import pytest

from genpi_plugin.evaluation.figures.call_scores import call_scores
from tests.genpi_plugin.data.templates_walked import TOOLS


def written(*calls: tuple[str, dict], text: str = "") -> str:
    tags = [json.dumps({"name": name, "arguments": given}) for name, given in calls]
    return text + "".join(f"<tool_call>\n{tag}\n</tool_call>" for tag in tags)


RIGHT = written(("stock_of", {"item": "socks", "size": 27}))


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
    broken = 'Two. <tool_call>\n{"name": "stock_of", "argum'
    assert [score(broken, "There are two.") for score in scores] == [0, 0, 0]


def test_a_broken_call_behind_a_right_one_is_not_well_formed():
    broken = f'{RIGHT}\n<tool_call>\n{{"name": "stock_of", "argum'
    assert [score(broken, RIGHT) for score in call_scores(TOOLS).values()] == [0, 0, 0]
