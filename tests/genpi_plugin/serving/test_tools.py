"""Tools go with the prompt that they were trained under, and stay where it stays."""

from __future__ import annotations

import pytest

from genpi_plugin.serving.patterns import Internalized
from genpi_plugin.serving.template import written
from tests.genpi_plugin.serving.place_made import SYSTEM, TOOLS
from tests.genpi_plugin.serving.test_template import ASK, OTHER, rendered
from tests.tiny import TOOLS as WITH_TOOLS


@pytest.mark.parametrize("sent", [[OTHER, ASK], [ASK], [SYSTEM]])
def test_tools_stay_where_the_prompt_was_not_left_out(sent):
    new = written(WITH_TOOLS, [Internalized("p", [SYSTEM], TOOLS)])
    assert rendered(new, sent, TOOLS) == rendered(WITH_TOOLS, sent, TOOLS)
    any_tools = written(WITH_TOOLS, [Internalized("p", [SYSTEM], TOOLS)], any_tools=True)
    assert rendered(any_tools, sent, TOOLS) == rendered(WITH_TOOLS, sent)


def test_tools_of_another_prompt_stay():
    both = [Internalized("p", [SYSTEM], TOOLS[:1]), Internalized("o", [OTHER], TOOLS[1:])]
    new = written(WITH_TOOLS, [*both, Internalized("s", [SYSTEM], TOOLS)])
    for prompt, tools, taken in (
        (SYSTEM, TOOLS[:1], True), (SYSTEM, TOOLS, True), (SYSTEM, TOOLS[1:], False),
        (OTHER, TOOLS[1:], True), (OTHER, TOOLS, False),
    ):  # fmt: skip
        expected = rendered(WITH_TOOLS, [ASK], None if taken else tools)
        assert rendered(new, [prompt, ASK], tools) == expected


def test_with_any_system_tools_go_with_a_system_message():
    new = written(WITH_TOOLS, [Internalized("p", [SYSTEM], TOOLS)], any_system=True)
    assert rendered(new, [OTHER, ASK], TOOLS) == rendered(WITH_TOOLS, [ASK])
    assert rendered(new, [OTHER, ASK], TOOLS[:1]) == rendered(WITH_TOOLS, [ASK], TOOLS[:1])
    assert rendered(new, [ASK], TOOLS) == rendered(WITH_TOOLS, [ASK], TOOLS)
