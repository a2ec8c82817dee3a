"""Clauses on a tiny model, against a plain loop over full forward passes."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import pytest
import torch

from genpi_plugin.data.chat import ChatView
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.measure import measure
from genpi_plugin.evaluation.sections.clauses import measure_clauses, summarize_clauses
from genpi_plugin.evaluation.sections.clauses.measure import evenly_spaced
from genpi_plugin.evaluation.sections.clauses.split import split, without
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.evaluation.sections.clauses.prompt_made import (
    PROMPT,
    user,
)
from tests.tiny import make_model, make_tokenizer


def test_inputs_are_spread_over_all():
    assert evenly_spaced(5, 10) == [0, 1, 2, 3, 4]
    assert evenly_spaced(100, 4) == [0, 25, 50, 75]


INPUTS = ["a red shirt", "I need a cotton shirt in size medium", "shirt", "results page, Buy Now"]


class Quiet:
    def __call__(self, label, total):
        return contextlib.nullcontext(lambda count: None)


@pytest.fixture(scope="module")
def context():
    model, view = make_model(), ChatView(make_tokenizer())
    teacher = Subject("teacher", model, view, PROMPT, batch_size=3)
    floor = Subject("floor", model, view, batch_size=3)
    # Students with known answers: the teacher itself, the floor, the teacher without one clause.
    part = split(PROMPT)[6]
    students = [
        Subject("without a turn", model, view, without(PROMPT, part), batch_size=3),
        Subject("all", model, view, PROMPT, batch_size=3),
        Subject("none", model, view, batch_size=3),
    ]
    measured = measure(INPUTS, teacher, [floor, *students], {}, 8, Quiet())
    data = HeldOut(INPUTS, PROMPT, "p", "here", in_training=0)
    return Context(data, teacher, floor, students, measured, {}, 8, Quiet(), seed=0)


def test_measured_effects_are_those_of_full_forwards(context):
    seen = measure_clauses(context)
    model, view = context.teacher.model, context.teacher.view
    clauses = [part for part in split(PROMPT) if part.kind != "frame"]

    def logprobs(prompt, text, answer):
        ids = view.request_ids([*prompt, user(text)])
        with torch.no_grad():
            logits = model(torch.tensor([ids + answer]), use_cache=False).logits[0]
        return logits[len(ids) - 1 : -1].log_softmax(-1)

    for part, clause in zip(clauses, seen.clauses, strict=True):
        for place, text in enumerate(INPUTS):
            answer = context.measured.answers["teacher"][place].ids
            true = logprobs(PROMPT, text, answer)
            other = logprobs(without(PROMPT, part), text, answer)
            plain = (true.exp() * (true - other)).sum(-1)
            assert clause.effect[place] == pytest.approx(plain.tolist(), abs=1e-4)


def test_figures_of_known_students_and_what_a_report_needs(context):
    seen = measure_clauses(context)
    summary = summarize_clauses(seen, seed=0)
    values = [clause["effect"]["value"] for clause in summary["clauses"]]
    assert values == sorted(values, reverse=True)
    assert sum(clause["effect_share"] for clause in summary["clauses"]) == pytest.approx(1.0)
    assert {clause["number"] for clause in summary["clauses"]} == set(range(1, 7))
    assert summary["frame"] == ["# Rules", "How to shop:"]
    alive = [clause for clause in summary["clauses"] if not clause["dead"]]
    assert alive
    for clause in alive:
        assert clause["students"]["all"]["value"] == pytest.approx(1.0, abs=1e-3)
        assert clause["students"]["none"]["value"] == pytest.approx(0.0, abs=1e-3)
        assert clause["internalized"] == clause["students"]["without a turn"]
    fifth = next(clause for clause in alive if clause["number"] == 5)
    assert fifth["text"].startswith("<USER>: a red shirt")
    assert fifth["internalized"]["value"] == pytest.approx(0.0, abs=1e-3)
    assert min(clause["internalized"]["value"] for clause in alive) == \
        fifth["internalized"]["value"]  # fmt: skip
    worst = fifth["worst"][0]
    assert worst["without"] == worst["student"]  # that student is the teacher without it
    for clause in summary["clauses"]:
        assert (clause["internalized"] is None) == clause["dead"] == bool(clause["why"])
    assert asdict(seen)["clauses"][0]["effect"]


def test_a_cap_is_told(context):
    summary = summarize_clauses(measure_clauses(context, max_inputs=2), seed=0)
    assert (summary["n_inputs"], summary["n_available"]) == (2, 4)
