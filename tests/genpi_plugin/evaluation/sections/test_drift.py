"""What else changed, on adapters of which the answer is known."""

from __future__ import annotations

import json
import re

import pytest
import torch

from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.measuring.context import as_json
from genpi_plugin.evaluation.measuring.off_switch import OffSwitch
from genpi_plugin.evaluation.sections.drift import (
    GENERAL,
    TOKENS,
    Drift,
    SystemDrift,
    measure_drift,
    summarize_drift,
)
from tests.genpi_plugin.evaluation.context_made import adapted, make_context

GENERALS = ["What is the capital?", "Tell me a joke", "17 times 23", "size of a page", "Hi"]
ZERO = {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
SWITCHED_OFF = OffSwitch(True, 5, 50, 0, 0.0)


@pytest.fixture
def general(tmp_path):
    path = tmp_path / "general.txt"
    path.write_text("\n".join(GENERALS))
    return path


def test_an_adapter_of_zeros_changes_nothing_and_can_be_switched_off(general):
    seen = measure_drift(make_context(adapted(zeros=True)), general)
    figures = summarize_drift(seen, 0)
    assert figures["kl_from_floor"] == figures["changed"] == figures["over_reach"] == ZERO
    assert figures["teacher"]["kl_from_floor"]["value"] > 0
    assert figures["off_identical"] is True
    assert figures["off_largest_kl"] == 0.0
    assert figures["off_tokens"] > len(GENERALS)
    assert figures["n"] == len(GENERALS)
    assert "Little changed" in figures["advice"]
    json.dumps([figures, as_json(seen)], allow_nan=False)


def test_divergence_from_the_floor_is_that_of_a_brute_force_script(general):
    context = make_context(adapted())
    model = context.floor.model
    seen = measure_drift(context, general)
    total, tokens = 0.0, 0
    for index, text in enumerate(GENERALS):
        [request] = context.floor.requests([text])
        ids = torch.tensor([request])
        with torch.no_grad(), model.disable_adapter():
            given = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=seen.max_new_tokens,
                do_sample=False, eos_token_id=context.floor.end_ids, pad_token_id=0,
            )  # fmt: skip
            floor = model(given, use_cache=False).logits[0, len(request) - 1 : -1].log_softmax(-1)
        with torch.no_grad():
            mine = model(given, use_cache=False).logits[0, len(request) - 1 : -1].log_softmax(-1)
        expected = float((floor.exp() * (floor - mine)).sum())
        assert seen.systems["student"].kl[index] == pytest.approx(expected, rel=1e-3, abs=1e-4)
        total, tokens = total + expected, tokens + given.shape[1] - len(request)
    figures = summarize_drift(seen, 0)
    assert figures["kl_from_floor"]["value"] == pytest.approx(total / tokens, rel=1e-3)
    assert figures["kl_from_floor"]["value"] > 0.1
    assert figures["changed"]["value"] > 0
    assert "Too much" in figures["advice"]


def _write_into(model):
    with torch.no_grad():
        weights = model.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
        weights += 0.05 * torch.randn_like(weights)
    return model


def test_a_weight_that_was_written_to_is_caught(general):
    seen = measure_drift(make_context(_write_into(adapted())), general)
    figures = summarize_drift(seen, 0)
    assert figures["off_identical"] is False
    assert "NOT the base model" in figures["advice"]
    assert figures["off_largest_kl"] > 1e-4


def test_a_check_that_cant_be_made_says_so(general):
    def no_room():
        raise torch.OutOfMemoryError

    for load_base_model, why in ((no_room, "did not fit into memory"), (None, "no base model")):
        context = make_context(adapted(zeros=True), load_base_model=load_base_model)
        figures = summarize_drift(measure_drift(context, general), 0)
        assert figures["off_identical"] is None
        assert why in figures["advice"]


@pytest.mark.parametrize(
    ("kl", "over_reach", "says"),
    [
        (0.01, 0, "Little changed"),
        (0.3, 0, "Too much: 0.30 nats"),
        (0.3, 30, "50% of the general requests"),
        (0.3, None, "Too much: 0.30 nats"),
    ],
)
def test_advice(kl, over_reach, says):
    n = 60
    reached = None if over_reach is None else [i < over_reach for i in range(n)]
    student = SystemDrift(["b"] * n, [10 * kl] * n, [True] * n, reached)
    drift = Drift("shipped", ["a"] * n, ["a"] * n, [10] * n, 64,
                  {"student": student, "teacher": student}, "teacher", SWITCHED_OFF)  # fmt: skip
    figures = summarize_drift(drift, 0)
    assert says in figures["advice"]
    assert "students" not in figures
    assert figures["changed"]["value"] == 1.0


def test_advice_says_when_there_are_too_few_requests():
    student = SystemDrift(["b"] * 4, [0.1, 3.0, 0.0, 0.5], [True] * 4, None)
    drift = Drift("shipped", ["a"] * 4, ["a"] * 4, [10] * 4, 64,
                  {"one": student, "two": student, "teacher": student}, "teacher",
                  SWITCHED_OFF)  # fmt: skip
    figures = summarize_drift(drift, 0)
    assert "too few" in figures["advice"]
    assert list(figures["students"]) == ["one", "two"]


def test_over_reach_counts_answers_that_the_floor_gives_in_no_such_format(general):
    """With a pattern that the floor's answers have too, nothing is picked up."""
    every = measure_drift(make_context(adapted(), pattern=r"(?s).*"), general)
    assert every.systems["student"].over_reach == [False] * len(GENERALS)
    context = make_context(adapted(), pattern=None)
    assert measure_drift(context, general).systems["student"].over_reach is None
    first = every.systems["student"].answers[0]
    floor = every.floor
    assert first not in floor
    only = make_context(adapted(), pattern=re.escape(first))
    found = measure_drift(only, general).systems["student"].over_reach
    assert found[0] is True


def test_the_answers_have_room_for_the_teachers_format(general):
    context = make_context(adapted(), max_new_tokens=80)
    seen = measure_drift(context, general)
    longest = max(len(answer.ids) for answer in context.measured.answers["teacher"])
    assert seen.max_new_tokens == min(80, max(TOKENS, longest))
    assert max(seen.tokens) <= seen.max_new_tokens


def test_the_shipped_requests_are_all_different():
    inputs = list(read_inputs(GENERAL).texts)
    assert len(inputs) >= 60
    assert len({text.casefold() for text in inputs}) == len(inputs)


def test_an_empty_general_file_is_refused(tmp_path):
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(GenPIError, match="holds no inputs"):
        measure_drift(make_context(adapted()), tmp_path / "none.txt")
