"""Shares of clauses: students with known answers, and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genpi_plugin.evaluation.sections.clauses.shares import (
    DEAD_BELOW,
    effect,
    internalized,
    is_dead,
    losses,
)

# Three clauses on two inputs: the first two govern tokens of their own, the third a bit of all.
EFFECTS = [
    [[4.0, 0.0, 0.1, 0.0], [0.0, 0.0]],
    [[0.0, 3.0, 0.1, 0.0], [2.0, 0.0]],
    [[0.5, 0.5, 0.5, 0.0], [0.5, 0.5]],
]
FLOOR = [[6.0, 5.0, 4.0, 1.0], [5.0, 3.0]]


def shares(student):
    found = internalized(losses(EFFECTS, student, FLOOR), seed=0)
    assert all(one.ci_low <= one.value <= one.ci_high for one in found)
    return [one.value for one in found]


def test_shares_of_the_known_students():
    nothing = [[0.0] * 4, [0.0] * 2]
    assert shares(nothing) == [1.0, 1.0, 1.0]
    assert shares(FLOOR) == [0.0, 0.0, 0.0]
    for number, never_trained in enumerate(EFFECTS):
        assert shares(never_trained) == [0.0 if c == number else 1.0 for c in range(3)]
    # Half of what the first clause does is lost, and nothing else.
    half = [[value / 2 for value in tokens] for tokens in EFFECTS[0]]
    first, second, third = shares(half)
    assert first == pytest.approx(0.5, abs=0.01)
    assert second == 1.0
    assert third > 0.9  # it acts at the same token: what is lost there is the first one's


def test_losses_by_hand():
    # Two tokens, two clauses. At stake: 2 and 1 (the floor's, which is less) for the first.
    found = losses([[[2.0, 3.0]], [[2.0, 0.0]]], [[1.0, 0.25]], [[9.0, 1.0]])
    # Weights: 2 * 2/4 and 3 * 3/3 for the first, 2 * 2/4 and 0 for the second.
    assert found.at_stake.tolist() == [[1.0 * 2 + 3.0 * 1], [1.0 * 2]]
    assert found.lost.tolist() == [[1.0 * 1 + 3.0 * 0.25], [1.0 * 1]]
    assert found.overlap[:, :, 0].tolist() == [[5.0, 2.0], [2.0, 2.0]]
    one, other = internalized(found, seed=0)
    first, second = 1.75 / 5, 1 / 2
    assert one.value == pytest.approx((1 - first) / (1 - second * 2 / 5))
    assert other.value == pytest.approx((1 - second) / (1 - first * 2 / 2))
    assert one.ci_low is None  # one input


def test_intervals_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    effects, (floor, student) = rng.gamma(0.5, 2.0, (3, 8, 5)), rng.gamma(1.0, 2.0, (2, 8, 5))
    found = internalized(losses(effects.tolist(), student.tolist(), floor.tolist()), seed=0)
    drawn = []
    for _ in range(500):
        places = rng.integers(8, size=8)
        one = [rows[places].tolist() for rows in (*effects, student, floor)]
        drawn.append([s.value for s in internalized(losses(one[:3], *one[3:]), seed=0)])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert [one.ci_low for one in found] == pytest.approx(low.tolist(), abs=0.1)
    assert [one.ci_high for one in found] == pytest.approx(high.tolist(), abs=0.1)


def test_nothing_at_stake_is_not_defined():
    # The floor does what the clause asks for anyway.
    assert internalized(losses([[[1.0]]], [[0.5]], [[0.0]]), seed=0)[0].value is None
    assert internalized(losses([], [[0.5]], [[0.0]]), seed=0) == []


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_a_share_is_between_0_and_1_and_more_is_lost_with_the_divergence(seed):
    rng = np.random.default_rng(seed)
    clauses, tokens = rng.integers(1, 5), rng.integers(1, 9)
    effects = rng.gamma(0.5, 2.0, (clauses, 1, tokens)).tolist()
    floor, student = rng.gamma(2.0, 2.0, (2, 1, tokens))
    near = losses(effects, (student / 2).tolist(), floor.tolist())
    far = losses(effects, student.tolist(), floor.tolist())
    assert (near.lost <= far.lost).all()
    assert (far.lost <= far.at_stake * (1 + 1e-9)).all()
    values = [one.value for one in internalized(far, seed=0)]  # None where nothing is at stake
    assert all(value is None or -1e-9 <= value <= 1.0 for value in values)


def test_effect_is_a_mean_per_token_and_dead_only_with_its_whole_interval():
    interval = effect([[1.0, 0.0], [0.5]], seed=0)
    assert interval.value == pytest.approx(0.5)
    small = DEAD_BELOW / 2
    assert is_dead(effect([[small] * 3] * 20, 0))
    # The mean is as small, but it may as well be larger: one input in twenty has it.
    assert not is_dead(effect([[small * 20]] + [[0.0]] * 19, 0))
