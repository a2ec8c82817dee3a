"""Answers and divergences of all systems, against naive references and known answers."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from genpi_plugin.data.chat import ChatView
from genpi_plugin.evaluation.figures.scores import make_scores
from genpi_plugin.evaluation.figures.summary import summarize
from genpi_plugin.evaluation.measuring.measure import kl_sum, measure
from genpi_plugin.evaluation.sections.recital import recite, summarize_recitals
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.evaluation.context_made import quiet
from tests.genpi_plugin.evaluation.subjects_made import INPUTS, PROMPT
from tests.tiny import make_model, make_tokenizer


def test_kl_by_hand_and_against_itself():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert kl_sum(p.log(), q.log()) == pytest.approx(expected)
    assert kl_sum(p.log(), p.log()) == 0.0


def test_a_student_that_is_the_floor_has_internalized_nothing(subjects):
    teacher, floor, student = subjects
    scores = make_scores(r"(?P<action>\w+)")
    measured = measure(INPUTS, teacher, [floor, student], scores, 10, quiet)
    recitals = recite(student, measured, "floor", teacher, 2, quiet)
    metrics = summarize(measured, {"student": "a/folder"}, seed=0)
    assert metrics["internalization"] == {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert metrics["systems"]["teacher"]["agreement"]["value"] == 1.0
    assert metrics["systems"]["floor"]["kl_to_teacher"]["value"] > 0
    assert summarize_recitals(recitals, 0)["n"] == 2
    assert recitals[0].input == INPUTS[0]
    json.dumps(metrics, allow_nan=False)


def test_the_student_is_measured_with_its_adapter_and_the_others_without():
    """One model with an adapter, systems interleaved, against a brute-force script."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False)
    model, view = get_peft_model(make_model(), config), ChatView(make_tokenizer())
    teacher = Subject("teacher", model, view, PROMPT, batch_size=3)
    floor = Subject("floor", model, view, batch_size=3)
    student = Subject("student", model, view, adapter=True, batch_size=3)
    measured = measure(INPUTS, teacher, [floor, student], make_scores(None), 8, quiet)

    def logprobs(request, answer, adapter):
        ids = torch.tensor([request + answer])
        with torch.no_grad(), contextlib.nullcontext() if adapter else model.disable_adapter():
            logits = model(ids, use_cache=False).logits[0]
        return logits[len(request) - 1 : -1].log_softmax(-1)

    for index, text in enumerate(INPUTS):
        [with_prompt], [without] = teacher.requests([text]), floor.requests([text])
        answer = measured.answers["teacher"][index].ids
        truth = logprobs(with_prompt, answer, adapter=False)
        for system, adapter in (("floor", False), ("student", True)):
            brute = kl_sum(truth, logprobs(without, answer, adapter))
            assert measured.kl[system][index] == pytest.approx(brute, rel=1e-3, abs=1e-4)
    assert measured.kl["student"] != pytest.approx(measured.kl["floor"], rel=1e-2)
