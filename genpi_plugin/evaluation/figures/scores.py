"""Scores of one answer, compared with the teacher's."""

from __future__ import annotations

import re
from collections.abc import Callable

import sacrebleu

Score = Callable[[str, str], float]


def find_action(pattern: re.Pattern[str], answer: str) -> str | None:
    """The action in an answer, white space folded: the group `action`, else the whole match."""
    match = pattern.search(answer)
    if match is None:
        return None
    named = match.groupdict().get("action")
    return " ".join((named if named is not None else match.group(0)).split())


def chrf(answer: str, reference: str) -> float:
    """chrF of an answer against a reference, 0 to 100 (sacrebleu, its defaults)."""
    return sacrebleu.sentence_chrf(answer, [reference]).score


def make_scores(action_pattern: str | None) -> dict[str, Score]:
    """Functions (answer, teacher's answer) -> score. Shares are 0 or 1; chrF is 0 to 100.

    `valid` and `agreement` need the task's `action_pattern`: an answer is valid when it holds a
    well-formed action, and agrees when the action is the teacher's.
    """
    scores: dict[str, Score] = {}
    if action_pattern:
        pattern = re.compile(action_pattern)

        def valid(answer: str, teacher: str) -> float:
            return float(find_action(pattern, answer) is not None)

        def agreement(answer: str, teacher: str) -> float:
            action = find_action(pattern, answer)
            return float(action is not None and action == find_action(pattern, teacher))

        scores |= {"valid": valid, "agreement": agreement}
    return {**scores, "exact": lambda answer, teacher: float(answer == teacher), "chrf": chrf}
