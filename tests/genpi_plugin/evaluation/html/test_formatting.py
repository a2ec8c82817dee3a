"""Figures as text."""

from __future__ import annotations

import pytest

from genpi_plugin.evaluation.html.formatting import interval_text, percent, seconds, size
from tests.genpi_plugin.evaluation.report_made import (
    interval,
)


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (0.837, "84 %"), (0.996, "99.6 %"), (0.0004, "<0.1 %"),
     (0.9996, ">99.9 %"), (-0.13, "−13 %"), (-0.001, "0 %"), (1.075, "108 %")],
)  # fmt: skip
def test_a_share_is_never_rounded_to_nothing_or_all(share, shown):
    assert percent(share) == shown.replace(" ", "\u202f")


def test_figures_in_words():
    assert interval_text(interval(0.5, 0.25), percent) == "[25, 75]"
    assert interval_text(interval(0.5), percent) == ""
    assert interval_text({"value": 1.0, "ci_low": 0.5, "ci_high": 1.2}, seconds) == (
        "[500 ms, 1.20 s]"
    )
    assert [size(n) for n in (3, 4_677_120)] == ["3 B", "4.46 MiB"]
