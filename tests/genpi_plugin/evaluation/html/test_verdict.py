"""The verdict: each judgement goes by an interval's end."""

from __future__ import annotations

import copy

import pytest

from genpi_plugin.evaluation.html import verdict
from genpi_plugin.evaluation.html.verdict import cautions
from tests.genpi_plugin.evaluation.report_made import (
    interval,
    made_benchmark,
    made_metrics,
)


def clear(metrics):
    """Leave what the first sentence is about, and nothing else."""
    return {key: metrics[key] for key in ("systems", "internalization", "n", "seed")}


@pytest.mark.parametrize(
    ("figure", "words_of_it"),
    [
        (interval(0.95, 0.03), "nearly all"),
        (interval(0.95, 0.06), "most of"),
        (interval(0.75, 0.04), "most of"),
        (interval(0.60, 0.04), "a part of"),
        (interval(0.32, 0.04), "little of"),
        (interval(0.03, 0.05), "has not been shown to take over anything"),
        (interval(-0.3, 0.1), "further from the prompted model than no adapter"),
        (interval(None), "nothing to take over"),
    ],
)
def test_the_verdict_goes_by_the_lower_end(figure, words_of_it):
    metrics = {**clear(made_metrics()), "internalization": figure}
    assert words_of_it in verdict(metrics)
    assert verdict(metrics).endswith(".")


def test_the_verdict_names_the_good_and_the_bad():
    said = verdict(made_metrics()).replace("\u202f", " ")
    assert "84 % [82, 86]" in said
    assert "keeps its format (99 % well-formed)" in said
    good, bad = said.split("; but ")
    assert "saves 77 % of a request’s tokens" in good
    for text in (
        "prompted model’s in only 43 % of answers",
        "1 of 5 clauses that matter is not",
        "shifts other requests by 0.21 nats",
        "cached prefix is as fast as the unmerged",
    ):
        assert text in bad  # fmt: skip


def test_an_adapter_that_stays_with_the_teacher_is_judged_by_it():
    metrics = made_metrics()
    for one in metrics["drift"]["students"].values():
        one |= {"kept_to": "teacher", "kl_from_teacher": interval(0.3, 0.1)}
    assert "0.30 nats per token from the prompted model" in verdict(metrics)
    for one in metrics["drift"]["students"].values():
        one |= {"kl_from_teacher": interval(0.03, 0.01)}
    said = verdict(metrics)
    assert "does with other requests what the prompt would do" in said
    assert "shifts other requests" not in said
    for one in metrics["drift"]["students"].values():
        one |= {"over_reach_from_teacher": interval(0.3, 0.1)}
    assert "in the prompt’s format, where the prompted model does not" in verdict(metrics)


def test_what_is_lost_on_public_tests_is_said():
    metrics = made_metrics()
    assert "loses on" not in verdict(metrics)  # the second adapter does
    one = metrics["benchmarks"]["tasks"]["ifeval"]["prompt_level_strict_acc"]
    one["differences"]["student"] = one["differences"]["small"]
    assert "it loses on ifeval" in verdict(metrics)
    one["higher_is_better"] = False
    assert "loses on" not in verdict(metrics)


def test_one_small_loss_among_many_figures_is_none():
    metrics = made_metrics()
    section = metrics["benchmarks"]
    one = section["tasks"]["ifeval"]["prompt_level_strict_acc"]
    one["differences"]["student"] = {**interval(-0.05, 0.04), "paired": True, "significant": True}
    assert "it loses on ifeval" in verdict(metrics)  # 2.4 standard errors, of one figure
    others = {f"exam_{n}": {"acc": made_benchmark()} for n in range(9)}
    section["tasks"] |= others
    assert "loses on" not in verdict(metrics)
    # One group: its figure counts, those of its tasks don't.
    section["tasks"]["exam"] = {"acc": made_benchmark()}
    section["groups"] = {"exam": ["part"], "part": list(others)}
    others["exam_3"]["acc"]["differences"]["student"] = interval(-0.5, 0.01)
    assert "it loses on ifeval" in verdict(metrics)
    assert "exam" not in verdict(metrics)


def test_less_along_its_own_answers_is_said():
    metrics = made_metrics()
    assert "along its own answers" not in verdict(metrics)
    metrics["own_path"] = interval(0.6, 0.05)
    assert "along its own answers it is only 60" in verdict(metrics)


def test_a_verdict_on_a_good_adapter_has_no_but():
    metrics = made_metrics()
    metrics["retention"] = {"valid": interval(0.99, 0.01), "agreement": interval(0.97, 0.01)}
    for clause in metrics["clauses"]["clauses"]:
        clause["internalized"] = interval(0.9, 0.05) if clause["internalized"] else None
    for one in metrics["drift"]["students"].values():
        one["kl_from_floor"] = interval(0.02, 0.01)
    for prompt in metrics["cost"]["break_even"]["seconds"].values():
        for result in prompt.values():
            result["outcome"] = "paid_back"
    said = verdict(metrics)
    assert "but" not in said
    for text in (
        "acts as the prompted model does",
        "misses none of its 5 clauses",
        "leaves other requests nearly unchanged",
        "faster than even a cached prefix",
    ):
        assert text in said  # fmt: skip
    alive = next(one for one in metrics["clauses"]["clauses"] if one["internalized"])
    alive["internalized"] = interval(0.5, 0.3)
    assert "misses none" not in verdict(metrics)  # it can't be told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["drift"]["students"]["student"].update(over_reach=interval(0.3, 0.1)),
         "of other requests in the prompt’s format"),
        (lambda m: m["drift"].update(off_identical=False), "is not the base model"),
        (lambda m: m["disclosure"]["systems"]["student"].update(clauses=interval(0.5, 0.2)),
         "(prompted model: 64\u202f%)"),
        (lambda m: m["disclosure"]["systems"]["student"].update(clauses_of_any=[1, 2, 3, 4]),
         "attacks together extract 4 of its 6 clauses"),
        (lambda m: m["retention"].update(valid=interval(0.5, 0.1)), "of answers are well-formed"),
        (lambda m: m["comparisons"][0].update(difference=interval(-0.2, 0.1)),
         "“small” is closer to the prompted model"),
        (lambda m: m["cost"]["break_even"]["seconds"]["prompt_cached"]["adapter_merged"].update(
            outcome="never"), "cached prefix is as fast as the adapter or faster"),
    ],
)  # fmt: skip
def test_what_is_bad_is_said(change, said):
    metrics = copy.deepcopy(made_metrics())
    assert said not in verdict(metrics)
    change(metrics)
    assert said in verdict(metrics).split("; but ")[1]


def test_what_few_inputs_or_wide_intervals_can_not_tell_is_left_out():
    metrics = made_metrics()
    metrics["retention"] = {"agreement": interval(0.75, 0.2)}
    metrics["clauses"]["clauses"][3]["internalized"] = interval(0.4, 0.2)
    said = verdict(metrics)
    assert "prompted model’s in only" not in said
    assert "not in it" not in said


def test_cautions_count_few_inputs_and_cut_answers():
    metrics = made_metrics()
    assert cautions(metrics) == []
    metrics["n"] = 2
    metrics["systems"]["teacher"]["cut_answers"] = 1
    few, cut = cautions(metrics)
    assert "Only 2 inputs" in few
    assert "1 of the teacher’s 2 answers reached the length limit of 128 tokens" in cut
