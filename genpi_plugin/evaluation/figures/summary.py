"""Contract 7: the figures of an evaluation, each with its interval, as plain JSON types."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.measured import Measured, OwnPath
from genpi_plugin.evaluation.figures.names import FLOOR, TEACHER


def summarize(measured: Measured, students: Mapping[str, str], seed: int) -> dict[str, Any]:
    """The figures of the systems, which every evaluation has.

    Args:
        students: by name, where each adapter is; the figures without a name are the first one's.
        seed: of the bootstrap.
    """
    names = [FLOOR, TEACHER, *(n for n in measured.scores if n not in (FLOOR, TEACHER))]
    own = measured.own_path
    by_student = {
        name: {
            "internalization": _internalization(measured, name, seed),
            **({"own_path": own_share(own[name], seed)} if own else {}),
            "retention": _retention(measured, name, seed),
            "adapter": adapter,
        }
        for name, adapter in students.items()
    }
    first = next(iter(by_student.values()))
    return {
        "systems": {name: _system(measured, name, seed) for name in names},
        "internalization": first["internalization"],
        **({"own_path": first["own_path"]} if own else {}),
        "retention": first["retention"],
        "students": by_student,
        "comparisons": compare(measured, names[2:], seed),
        "cost": request_tokens(measured, next(iter(students))),
        "n": len(measured.inputs),
        "seed": seed,
    }


def compare(measured: Measured, names: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Differences between systems on the same inputs, left minus right, and which are significant.

    Every two of `names` on internalization, along their own answers and on each task score; and
    each of them with the floor and the teacher on the task scores. Significant: the 95 %
    interval leaves out 0.
    """
    pairs = [*itertools.combinations(names, 2)]
    found = []
    for left, right in pairs:
        kl = measured.kl
        difference = intervals.internalization_difference(kl[left], kl[right], kl[FLOOR], seed)
        found.append(_comparison(left, right, "internalization", difference))
    for left, right in pairs if measured.own_path else []:
        mine, other = measured.own_path[left], measured.own_path[right]
        difference = intervals.share_taken_over_difference(
            mine.kl, mine.floor, other.kl, other.floor, seed
        )
        found.append(_comparison(left, right, "own_path", difference))
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


def own_share(own: OwnPath, seed: int) -> dict[str, Any]:
    """1 - KL(teacher||system) / KL(teacher||floor), both along the system's own answers."""
    return intervals.internalization(own.kl, own.floor, seed).as_dict()


def _own_path(measured: Measured, name: str, seed: int) -> dict[str, Any]:
    """The share, and the nats per token both ways, along a system's own answers."""
    if not measured.own_path:
        return {}
    own, tokens = measured.own_path[name], [len(one.ids) for one in measured.answers[name]]
    return {
        "own_path": own_share(own, seed),
        "kl_own_path": intervals.ratio_of_sums(own.kl, tokens, seed).as_dict(),
        "kl_own_path_reverse": intervals.ratio_of_sums(own.reverse, tokens, seed).as_dict(),
        "answer_tokens": intervals.mean(tokens, seed).as_dict(),
    }


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
        **_own_path(measured, name, seed),
        **{
            metric: intervals.mean(values, seed).as_dict()
            for metric, values in measured.scores[name].items()
        },
        **_thinks(measured, name, seed),
        "cut_answers": sum(answer.cut for answer in measured.answers[name]),
    }
