"""Bootstrap intervals: known values, and what makes them narrow."""

from __future__ import annotations

import numpy as np
import pytest

from genpi_plugin.evaluation.figures import intervals


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
