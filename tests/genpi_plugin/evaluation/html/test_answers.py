"""Answers side by side, filters, and the recited prompt."""

from __future__ import annotations

import re

from genpi_plugin.evaluation.html.answers import cases, head, shared_start
from genpi_plugin.evaluation.html.page import render
from tests.genpi_plugin.evaluation.html.parsed import Page
from tests.genpi_plugin.evaluation.report_made import (
    INPUTS,
    made_details,
    made_metrics,
)


def test_cases_are_worst_first_with_their_kinds():
    found = cases(made_metrics(), made_details())
    assert [case.input for case in found.shown] == [INPUTS[3], INPUTS[1], INPUTS[2], INPUTS[0]]
    assert [case.kl for case in found.shown] == ["1.000", "0.600", "0.300", "0.100"]
    assert found.shown[0].kinds == ["differs", "other-action", "is-cut"]
    assert found.shown[3].kinds == ["agrees", "same-action"]
    assert {kind: many for kind, _, many in found.filters} == {
        "differs": 3, "agrees": 1, "same-action": 1, "other-action": 3, "is-cut": 1,
    }  # fmt: skip


def test_what_does_not_fit_on_the_page_is_counted(monkeypatch):
    monkeypatch.setattr("genpi_plugin.evaluation.html.answers.MOST_CASES", 3)
    text = Page(render(made_metrics(), made_details())).text
    assert "The 3 furthest of 4" in text


def test_filters_hide_what_the_style_sheet_says():
    page = render(made_metrics(), made_details())
    for kind in re.findall(r'id="f-([a-z-]+)"', page):
        if kind != "all":
            assert f"#f-{kind}:checked ~ .cases > .case:not(.{kind})" in page


def test_the_recited_prompt_is_marked_where_it_is_not_the_prompt(page):
    assert "<del>- Be polite at all times.\n</del>" in page
    assert "<del>30</del><ins>50</ins>" in page


def test_headings_leave_out_what_all_inputs_begin_with():
    inputs = ["Observation: [SEP] i need a red hat", "Observation: [SEP] i need a rug"]
    common = shared_start(inputs)
    assert inputs[0][:common] == "Observation: [SEP] i need a "
    assert head(inputs[0], common) == "… red hat"
    assert shared_start(["a red hat", "a rug"]) == 0
    assert shared_start(inputs[:1]) == 0
