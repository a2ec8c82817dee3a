"""When an adapter is paid back, on known numbers."""

from __future__ import annotations

import pytest

from genpi_plugin.evaluation.sections.cost.break_even import against_prompts, break_even, verdict


def test_break_even_on_known_numbers():
    paid = break_even(100.0, prompt=[3.0, 5.0, 4.0], adapter=[1.0, 1.5, 1.2])
    assert (paid.outcome, paid.requests) == ("paid_back", 36)  # 100 / 2.8, rounded up
    assert (paid.saved, paid.saved_least, paid.saved_most) == pytest.approx((2.8, 2.0, 3.5))
    dearer = break_even(100.0, prompt=[1.0, 1.0], adapter=[1.1, 1.0])
    assert (dearer.outcome, dearer.requests) == ("never", None)
    assert break_even(100.0, [1.0, 1.0], [0.9, 1.1]).outcome == "unclear"
    unknown = break_even(None, [2.0], [1.0])
    assert (unknown.outcome, unknown.requests, unknown.saved) == ("unknown", None, 1.0)
    assert break_even(None, [1.0], [2.0]).outcome == "never"  # whatever was spent


@pytest.mark.parametrize(
    ("unmerged", "merged", "says"),
    [
        (0.5, 0.4, "The adapter wins against the cached prefix, too."),
        (1.2, 0.4, "the prompt wins over the adapter unmerged."),
        (1.2, 1.1, "the prompt wins: the adapter saves no time."),
    ],
)
def test_the_verdict_says_when_a_cached_prefix_wins(unmerged, merged, says):
    seconds = {"prompt_cold": 5.0, "prompt_cached": 1.0, "adapter_unmerged": unmerged,
               "adapter_merged": merged}  # fmt: skip
    table = against_prompts(450.0, {name: [value] for name, value in seconds.items()})
    said = verdict(seconds, table)
    assert said.endswith(says)
    assert f"after {-(-450 // (5.0 - merged)):.0f} requests" in said
