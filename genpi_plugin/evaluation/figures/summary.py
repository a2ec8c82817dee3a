"""Contract 7: the figures of an evaluation, each with its interval, as plain JSON types."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.measured import Measured
from genpi_plugin.evaluation.figures.names import FLOOR, TEACHER


def summarize(measured: Measured, students: Mapping[str, str], seed: int) -> dict[str, Any]:
    """The figures of the systems, which every evaluation has.

    Args:
        students: by name, where each adapter is; the figures without a name are the first one's.
        seed: of the bootstrap.
    """
    names = [FLOOR, TEACHER, *(n for n in measured.scores if n not in (FLOOR, TEACHER))]
    by_student = {
        name: {
            "internalization": _internalization(measured, name, seed),
            "retention": _retention(measured, name, seed),
            "adapter": adapter,
        }
        for name, adapter in students.items()
    }
    first = next(iter(by_student.values()))
    return {
        "systems": {name: _system(measured, name, seed) for name in names},
        "internalization": first["internalization"],
        "retention": first["retention"],
        "students": by_student,
        "comparisons": compare(measured, names[2:], seed),
        "cost": request_tokens(measured, next(iter(students))),
        "n": len(measured.inputs),
        "seed": seed,
    }


def compare(measured: Measured, names: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Differences between systems on the same inputs, left minus right, and which are significant.

    Every two of `names` on internalization and on each task score; and each of them with the
    floor and the teacher on the task scores. Significant: the 95 % interval leaves out 0.
    """
    pairs = [*itertools.combinations(names, 2)]
    found = []
    for left, right in pairs:
        kl = measured.kl
        difference = intervals.internalization_difference(kl[left], kl[right], kl[FLOOR], seed)
        found.append(_comparison(left, right, "internalization", difference))
    for left, right in [*pairs, *itertools.product(names, (FLOOR, TEACHER))]:
        for metric, values in measured.scores[left].items():
            difference = intervals.mean_difference(values, measured.scores[right][metric], seed)
            found.append(_comparison(left, right, metric, difference))
    return found


def request_tokens(measured: Measured, student: str) -> dict[str, Any]:
    """Mean tokens of a request, with the prompt and without."""
    mean = {name: sum(n) / len(n) for name, n in measured.request_tokens.items()}
    return {
        "request_tokens_with_prompt": mean[TEACHER],
        "request_tokens_without_prompt": mean[student],
        "request_tokens_saved_share": 1.0 - mean[student] / mean[TEACHER],
    }


def _comparison(
    left: str, right: str, figure: str, difference: intervals.Interval
) -> dict[str, Any]:
    return {
        "left": left,
        "right": right,
        "figure": figure,
        "difference": difference.as_dict(),
        "significant": difference.excludes_zero,
    }


def _thinks(measured: Measured, name: str, seed: int) -> dict[str, Any]:
    """The share of answers with thoughts; {} where no system ever thinks."""
    if not any(answer.thoughts for answers in measured.answers.values() for answer in answers):
        return {}
    thinking = [float(bool(answer.thoughts)) for answer in measured.answers[name]]
    return {"thinks": intervals.mean(thinking, seed).as_dict()}


def _internalization(measured: Measured, name: str, seed: int) -> dict[str, Any]:
    kl = measured.kl
    return intervals.internalization(kl[name], kl[FLOOR], seed).as_dict()


def _retention(measured: Measured, name: str, seed: int) -> dict[str, Any]:
    scores = measured.scores
    return {
        metric: intervals.retention(
            values, scores[FLOOR][metric], scores[TEACHER][metric], seed
        ).as_dict()
        for metric, values in scores[name].items()
    }


def _system(measured: Measured, name: str, seed: int) -> dict[str, Any]:
    return {
        "kl_to_teacher": intervals.ratio_of_sums(
            measured.kl[name], measured.tokens, seed
        ).as_dict(),
        "internalization": _internalization(measured, name, seed),
        **{
            metric: intervals.mean(values, seed).as_dict()
            for metric, values in measured.scores[name].items()
        },
        **_thinks(measured, name, seed),
        "cut_answers": sum(answer.cut for answer in measured.answers[name]),
    }
