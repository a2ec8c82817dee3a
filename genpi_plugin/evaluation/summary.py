"""Contract 7: the figures of an evaluation, each with its interval, as plain JSON types."""

from __future__ import annotations

from typing import Any

from . import intervals
from .measure import Measured, Recital

TEACHER, FLOOR, STUDENT = "teacher", "floor", "student"


def summarize(
    measured: Measured, recitals: list[Recital], seed: int, facts: dict[str, Any]
) -> dict[str, Any]:
    """Make `metrics.json`.

    Args:
        seed: of the bootstrap.
        facts: what else belongs to the result (versions, config, source of the inputs).
    """
    scores = measured.scores
    students = [name for name in scores if name not in (TEACHER, FLOOR)]
    result: dict[str, Any] = {
        "systems": {name: _system(measured, name, seed) for name in (FLOOR, TEACHER, *students)},
        "internalization": intervals.internalization(
            measured.kl[STUDENT], measured.kl[FLOOR], seed
        ).as_dict(),
        "retention": {
            metric: intervals.retention(
                scores[STUDENT][metric], scores[FLOOR][metric], scores[TEACHER][metric], seed
            ).as_dict()
            for metric in scores[STUDENT]
        },
        "cost": _cost(measured),
        "n": len(measured.inputs),
        "seed": seed,
    }
    if recitals:
        result["recitation"] = {
            "chrf": intervals.mean([recital.chrf for recital in recitals], seed).as_dict(),
            "n": len(recitals),
        }
    return {**result, **facts}


def _system(measured: Measured, name: str, seed: int) -> dict[str, Any]:
    return {
        "kl_to_teacher": intervals.ratio_of_sums(
            measured.kl[name], measured.tokens, seed
        ).as_dict(),
        **{
            metric: intervals.mean(values, seed).as_dict()
            for metric, values in measured.scores[name].items()
        },
        "cut_answers": sum(answer.cut for answer in measured.answers[name]),
    }


def _cost(measured: Measured) -> dict[str, Any]:
    """Mean tokens of a request, with the prompt and without."""
    mean = {name: sum(n) / len(n) for name, n in measured.request_tokens.items()}
    return {
        "request_tokens_with_prompt": mean[TEACHER],
        "request_tokens_without_prompt": mean[STUDENT],
        "request_tokens_saved_share": 1.0 - mean[STUDENT] / mean[TEACHER],
    }
