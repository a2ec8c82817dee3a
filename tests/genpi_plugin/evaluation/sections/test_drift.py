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
    kept_to,
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
    # It is the floor, also as far as the teacher is concerned.
    assert figures["kl_from_teacher"] == figures["floor"]["kl_from_teacher"]
    assert figures["kl_from_teacher"]["value"] > 0
    assert figures["floor"]["kl_from_floor"] == figures["teacher"]["kl_from_teacher"] == ZERO
    assert figures["changed_from_teacher"] == figures["teacher"]["changed"]
    assert figures["teacher"]["over_reach_from_teacher"] == ZERO
    assert figures["off_identical"] is True
    assert figures["off_largest_kl"] == 0.0
    assert figures["off_tokens"] > len(GENERALS)
    assert figures["n"] == len(GENERALS)
    assert "Little changed" in figures["advice"]
    json.dumps([figures, as_json(seen)], allow_nan=False)


def test_divergences_from_floor_and_teacher_are_those_of_a_brute_force_script(general):
    context = make_context(adapted())
    model = context.floor.model
    seen = measure_drift(context, general)
    figures = summarize_drift(seen, 0)

    def logprobs(system, text, answer):
        [request] = system.requests([text])
        with torch.no_grad(), system.switched():
            logits = model(torch.tensor([request + answer]), use_cache=False).logits[0]
        return logits[len(request) - 1 : -1].log_softmax(-1)

    def answered(system, text):
        [request] = system.requests([text])
        ids = torch.tensor([request])
        with torch.no_grad(), system.switched():
            given = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=seen.max_new_tokens,
                do_sample=False, eos_token_id=system.end_ids, pad_token_id=0,
            )  # fmt: skip
        return given[0, len(request) :].tolist()

    systems = {"student": context.students[0], "floor": context.floor, "teacher": context.teacher}
    for reference, sums in (("floor", "kl"), ("teacher", "kl_teacher")):
        totals, tokens = dict.fromkeys(systems, 0.0), 0
        for index, text in enumerate(GENERALS):
            answer = answered(systems[reference], text)
            truth = logprobs(systems[reference], text, answer)
            tokens += len(answer)
            for name, system in systems.items():
                expected = float((truth.exp() * (truth - logprobs(system, text, answer))).sum())
                found = getattr(seen.systems[name], sums)[index]
                assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
                totals[name] += expected
        for name, total in totals.items():
            of = figures if name == "student" else figures[name]
            value = of[f"kl_from_{reference}"]["value"]
            assert value == pytest.approx(total / tokens, rel=1e-3, abs=1e-5)
            assert (value > 0.1) is (name != reference)
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

    for load_base_model, why in ((no_room, "did not fit into memory"), (None, "base model itself")):
        context = make_context(adapted(zeros=True), load_base_model=load_base_model)
        figures = summarize_drift(measure_drift(context, general), 0)
        assert figures["off_identical"] is None
        assert why in figures["advice"]


def made_drift(students, kl, kl_teacher, reached=None, reached_teacher=None, kept=None):
    """Systems that are all alike; 10 tokens an answer."""
    n = len(kl)
    one = SystemDrift(["b"] * n, kl, kl_teacher, [True] * n, [True] * n, reached, reached_teacher)
    return Drift("shipped", ["a"] * n, ["a"] * n, [10] * n, 64,
                 dict.fromkeys([*students, "teacher", "floor"], one), "teacher", SWITCHED_OFF,
                 [20] * n, kept or {})  # fmt: skip


@pytest.mark.parametrize(
    ("kl", "over_reach", "kept", "says"),
    [
        ((0.01, 0.9), (0, 60), "floor", "Little changed"),
        ((0.3, 0.01), (0, 0), "floor", "Too much: 0.30 nats per token away from the base model on"),
        ((0.3, 0.01), (30, 0), "floor", "50% of the general requests are answered in the prompt's"),
        ((0.3, 0.01), (None, None), "floor", "Too much: 0.30 nats"),
        ((0.9, 0.01), (60, 0), "teacher", "it does what the prompt would do"),
        ((0.01, 0.3), (60, 0), "teacher", "Too much: 0.30 nats per token away from the base model"
                                          " with the prompt on"),
        ((0.01, 0.3), (0, 30), "teacher", "format where the model with the prompt does not"),
        ((0.01, 0.3), (None, None), "teacher", "(no adapter: 0.30)"),
    ],
)  # fmt: skip
def test_advice_judges_by_what_the_adapter_was_trained_to_stay_with(kl, over_reach, kept, says):
    n = 60
    reached = [None if some is None else [i < some for i in range(n)] for some in over_reach]
    drift = made_drift(["student"], [10 * kl[0]] * n, [20 * kl[1]] * n, *reached,
                       kept={"student": kept})  # fmt: skip
    figures = summarize_drift(drift, 0)
    assert says in figures["advice"]
    assert figures["kept_to"] == kept
    assert "students" not in figures
    assert figures["changed"]["value"] == 1.0


def test_advice_says_when_there_are_too_few_requests():
    kl = [0.1, 3.0, 0.0, 0.5]
    figures = summarize_drift(made_drift(["one", "two"], kl, [0.0] * 4), 0)
    assert "too few" in figures["advice"]
    assert list(figures["students"]) == ["one", "two"]


def test_over_reach_counts_answers_that_the_floor_gives_in_no_such_format(general):
    """With a pattern that the floor's answers have too, nothing is picked up."""
    every = measure_drift(make_context(adapted(), pattern=r"(?s).*"), general)
    assert every.systems["student"].over_reach == [False] * len(GENERALS)
    context = make_context(adapted(), pattern=None)
    assert measure_drift(context, general).systems["student"].over_reach is None
    assert every.systems["student"].over_reach_teacher == [False] * len(GENERALS)
    first = every.systems["student"].answers[0]
    floor = every.floor
    assert first not in floor
    only = make_context(adapted(), pattern=re.escape(first))
    found = measure_drift(only, general).systems["student"].over_reach
    assert found[0] is True
    assert measure_drift(only, general).systems["student"].over_reach_teacher[0] is True
    teachers = make_context(adapted(), pattern=re.escape(every.systems["teacher"].answers[0]))
    of_teacher = measure_drift(teachers, general).systems["teacher"]
    assert (of_teacher.over_reach[0], of_teacher.over_reach_teacher[0]) == (True, False)


@pytest.mark.parametrize(
    ("genpi", "kept"),
    [
        ({"keep": "teacher", "keep_weight": 0.5}, "teacher"),
        ({"keep": "teacher", "keep_weight": 0}, "floor"),
        ({"keep": "teacher"}, "floor"),
        ({"keep": "floor", "keep_weight": 1}, "floor"),
        (None, "floor"),
    ],
)
def test_the_manifest_says_what_an_adapter_was_trained_to_stay_with(tmp_path, genpi, kept):
    (tmp_path / "genpi_manifest.json").write_text(json.dumps({"genpi": genpi}))
    assert kept_to({"a": tmp_path, "b": tmp_path / "none"}) == {"a": kept, "b": "floor"}


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
