"""The evaluation's parts against naive references and known answers."""

from __future__ import annotations

import contextlib
import json
import re

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from genpi_plugin.data.chat import ChatView
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.scores import find_action, make_scores
from genpi_plugin.evaluation.figures.summary import summarize
from genpi_plugin.evaluation.gate import check_names, known_figures, parse_requirement, shortfalls
from genpi_plugin.evaluation.measuring.measure import kl_sum, measure
from genpi_plugin.evaluation.sections.recital import recite, summarize_recitals
from genpi_plugin.evaluation.subjects.inputs import read_inputs
from genpi_plugin.evaluation.subjects.reading import logprobs
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.tiny import make_model, make_tokenizer

PROMPT = [{"role": "system", "content": "You are a shop assistant. Answer with one action. " * 4}]
INPUTS = ["a red shirt", "I need a cotton shirt in size medium", "shirt", "results page, Buy Now"]


@pytest.fixture(scope="module")
def subjects():
    """Floor and teacher of one tiny model, and a student that is the floor (no adapter at all)."""
    model, view = make_model(), ChatView(make_tokenizer())
    return (
        Subject("teacher", model, view, PROMPT, batch_size=3),
        Subject("floor", model, view, batch_size=3),
        Subject("student", model, view, adapter=True, batch_size=3),
    )


def quiet(label, total):
    return contextlib.nullcontext(lambda count: None)


def test_batched_answers_with_a_cached_prompt_are_those_of_one_at_a_time(subjects):
    teacher = subjects[0]
    requests = teacher.requests(INPUTS)
    made = teacher.generate(requests, 12)
    for request, generated in zip(requests, made, strict=True):
        ids = torch.tensor([request])
        plain = teacher.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
            eos_token_id=teacher.end_ids, pad_token_id=0,
        )  # fmt: skip
        assert generated.ids == plain[0, ids.shape[1] :].tolist()


def test_logprobs_with_a_cached_prompt_are_those_of_a_plain_forward(subjects):
    teacher = subjects[0]
    requests = teacher.requests(INPUTS)
    answers = [list(range(20, 20 + 3 + i)) for i in range(len(INPUTS))]
    seen = set()
    for batch, found in logprobs(teacher, requests, answers):
        for index, followed in zip(batch, found, strict=True):
            ids = torch.tensor([requests[index] + answers[index]])
            with torch.no_grad():
                logits = teacher.model(ids, use_cache=False).logits[0]
            start = len(requests[index]) - 1
            plain = logits[start : start + len(answers[index])].log_softmax(-1)
            torch.testing.assert_close(followed, plain, rtol=1e-4, atol=1e-4)
            seen.add(index)
    assert seen == set(range(len(INPUTS)))


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


def test_intervals_hold_the_value_and_narrow_with_more_inputs():
    rng = np.random.default_rng(0)
    few, many = rng.random(20).tolist(), rng.random(2000).tolist()
    small, large = intervals.mean(few, 0), intervals.mean(many, 0)
    assert small.ci_low < small.value < small.ci_high
    assert large.ci_high - large.ci_low < (small.ci_high - small.ci_low) / 5
    assert intervals.mean(few, 0) == small


def test_internalization_and_retention_by_hand():
    assert intervals.internalization([1.0, 1.0], [4.0, 4.0], 0).value == pytest.approx(0.75)
    assert intervals.internalization([0.0, 0.0], [4.0, 1.0], 0).value == 1.0
    assert intervals.ratio_of_sums([1.0, 3.0], [1.0, 7.0], 0).value == 0.5
    found = intervals.retention([0.5, 0.7], [0.2, 0.2], [1.0, 1.0], 0)
    assert found.value == pytest.approx(0.5)
    undefined = intervals.retention([0.5, 0.7], [1.0, 1.0], [1.0, 1.0], 0)
    assert undefined == intervals.Interval(None, None, None)


def test_differences_are_paired_and_significant_when_zero_is_left_out():
    rng = np.random.default_rng(0)
    noise = rng.random(40) * 10  # common to both: only a paired bootstrap sees through it
    left, right = (noise + 0.2).tolist(), noise.tolist()
    found = intervals.mean_difference(left, right, 0)
    assert found.value == pytest.approx(0.2)
    assert found.excludes_zero
    assert not intervals.mean_difference(left, left, 0).excludes_zero
    shuffled = intervals.mean_difference(left, rng.permutation(right).tolist(), 0)
    assert not shuffled.excludes_zero
    kl = intervals.internalization_difference([1.0, 1.0], [2.0, 2.0], [4.0, 4.0], 0)
    assert kl.value == pytest.approx(0.25)
    assert not intervals.Interval(1.0, None, None).excludes_zero


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


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.jsonl", "", "holds no inputs"),
        ("bad.jsonl", '{"input": "a"}\n{"text": "b"}\n', "line 2: no `input`"),
        ("blank.jsonl", '{"input": " "}\n', "line 1: `input` is empty"),
    ],
)
def test_a_bad_input_file_is_refused(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(GenPIError, match=says):
        read_inputs(tmp_path / name)


def test_inputs_are_read_from_jsonl_and_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"input": "one\\ntwo", "more": 1}\n\n{"input": "three"}\n')
    (tmp_path / "a.txt").write_text("one\n\nthree\n")
    assert read_inputs(tmp_path / "a.jsonl") == ["one\ntwo", "three"]
    assert read_inputs(tmp_path / "a.txt") == ["one", "three"]


METRICS = {
    "internalization": {"value": 0.84, "ci_low": 0.82, "ci_high": 0.85},
    "retention": {"valid": {"value": 1.0, "ci_low": 0.9, "ci_high": 1.1},
                  "exact": {"value": None, "ci_low": None, "ci_high": None}},
    "systems": {"student": {"kl_to_teacher": {"value": 0.4, "ci_low": 0.3, "ci_high": 0.5}}},
    "recitation": {"chrf": {"value": 99.0, "ci_low": 98.0, "ci_high": 100.0}, "n": 3},
    "students": {"student": {"internalization": {"value": 0.84, "ci_low": 0.82, "ci_high": 0.85}}},
    "turns": [{"turn": 1, "internalization": {"value": 0.9, "ci_low": 0.8, "ci_high": 1.0}},
              {"turn": 2, "internalization": {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6}}],
    "drift": {"off_identical": True, "n": 20},
}  # fmt: skip


@pytest.mark.parametrize(
    ("required", "says"),
    [
        ("internalization>=0.8", None),
        ("internalization >= 0.83", "0.840 [0.820, 0.850]"),
        ("internalization<=0.85", None),
        ("internalization<=0.84", "0.840 [0.820, 0.850]"),
        ("valid.retention>=0.95", "1.000 [0.900, 1.100]"),
        ("valid.retention>=0.9", None),
        ("exact.retention>=0.1", "not defined"),
        ("kl_to_teacher<=0.5", None),
        ("recitation>=60", None),
        ("students.student.internalization>=0.83", "0.840 [0.820, 0.850]"),
        ("turns.1.internalization>=0.8", None),
        ("turns.2.internalization>=0.8", "0.500 [0.400, 0.600]"),
        ("turns.3.internalization>=0.8", "no such figure"),
        ("recitation.n>=3", None),
        ("drift.off_identical>=1", None),
        ("drift.n>=21", "20.000"),
    ],
)
def test_a_requirement_is_met_by_the_whole_interval(required, says):
    short = shortfalls([parse_requirement(required)], METRICS)
    assert bool(short) is (says is not None)
    if says:
        assert required in short[0]
        assert says in short[0]


@pytest.mark.parametrize("text", ["internalization", "internalization>0.8", ">=1", "a>=b"])
def test_a_requirement_that_cant_be_read_is_refused(text):
    with pytest.raises(GenPIError, match="can't be read"):
        parse_requirement(text)


def test_a_requirement_of_no_figure_is_refused_before_measuring():
    known = known_figures(["exact", "chrf"], ["a-b"], ["floor", "a-b"], ["turns"])
    for name in ("exact.retention", "students.a-b.internalization", "systems.floor.chrf",
                 "turns.2.internalization", "cost.request_tokens_with_prompt"):  # fmt: skip
        check_names([parse_requirement(f"{name}>=0.5")], known)
    for name in ("valid", "recitation", "internalisation", "students.c.internalization"):
        with pytest.raises(GenPIError, match=f"no figure `{name}`"):
            check_names([parse_requirement(f"{name}>=0.5")], known)
