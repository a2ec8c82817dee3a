"""Differences between two texts."""

from __future__ import annotations

import pytest

from genpi_plugin.evaluation.html.diff import compare, first_side, second_side, words
from tests.genpi_plugin.evaluation.report_made import (
    RECITED,
    made_details,
    made_metrics,
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("same", "same", [("same", "same")]),
        ("", "all of it", [("new", "all of it")]),
        ("search[red hat]", "search[hat]",
         [("same", "search["), ("gone", "red "), ("same", "hat]")]),
        ("price lower than 30", "price less than 50",
         [("same", "price "), ("gone", "lower"), ("new", "less"), ("same", " than "),
          ("gone", "30"), ("new", "50")]),
        ("a b end", "c d end", [("gone", "a b"), ("new", "c d"), ("same", " end")]),
        ("one\ntwo\nthree", "one\nthree", [("same", "one\n"), ("gone", "two\n"),
                                          ("same", "three")]),
    ],
)  # fmt: skip
def test_differences_by_hand(first, second, expected):
    assert [(piece.kind, piece.text) for piece in compare(first, second)] == expected


def test_both_sides_of_a_difference_are_the_texts_again():
    metrics, details = made_metrics(), made_details()
    texts = [one["text"] for answers in details["answers"].values() for one in answers]
    texts += [RECITED, details["prompt_text"], "", "\n\n", "ünï côdé 日本語 🙂"]
    for first in texts:
        assert "".join(words(first)) == first
        for second in texts[::3]:
            pieces = compare(first, second)
            assert "".join(piece.text for piece in first_side(pieces)) == first
            assert "".join(piece.text for piece in second_side(pieces)) == second
    assert metrics
