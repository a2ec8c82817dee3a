"""Scores of an answer: actions, agreement, chrF."""

from __future__ import annotations

import re

import pytest

from genpi_plugin.evaluation.figures.scores import find_action, make_scores


def test_actions_are_found_and_compared_with_white_space_folded():
    pattern = re.compile(r"Action:\s*(?P<action>search\[[^\]]+\])")
    assert find_action(pattern, "Thought: x\nAction:\n search[red  shirt]") == "search[red shirt]"
    assert find_action(pattern, "Sure! I can help.") is None
    scores = make_scores(pattern.pattern)
    assert scores["agreement"]("Action: search[a\nb]", "Action: search[a b]") == 1.0
    assert scores["agreement"]("no action", "no action") == 0.0
    assert scores["valid"]("Action: search[x]", "") == 1.0
    assert scores["chrf"]("the same", "the same") == pytest.approx(100.0)
    assert set(make_scores(None)) == {"exact", "chrf"}
