"""Draws that are each row's own."""

from __future__ import annotations

import random

from synth.engines.base import Sampling


def test_draws_follow_the_distribution():
    import torch

    from synth.engines.local.sampling import next_tokens

    probs = torch.tensor([0.05, 0.5, 0.15, 0.3])
    rows = 4000
    scores = (2 * probs.log()).expand(rows, 4)
    tokens = next_tokens(
        scores, [Sampling(2.0, 0.9)] * rows, [random.Random(seed) for seed in range(rows)]
    )
    share = torch.bincount(tokens, minlength=4) / rows
    assert share[0] == 0  # the others reach top_p without it
    torch.testing.assert_close(share[1:], probs[1:] / 0.95, atol=0.03, rtol=0)


def test_greedy_rows_take_the_likeliest_beside_sampled_ones():
    import torch

    from synth.engines.local.sampling import next_tokens

    scores = torch.zeros(2, 50).index_fill(1, torch.tensor([7]), 0.1)
    drawn = {
        tuple(next_tokens(scores, [Sampling(), Sampling(1.0)], [random.Random(seed)] * 2).tolist())
        for seed in range(20)
    }
    assert {greedy for greedy, _ in drawn} == {7}
    assert len({sampled for _, sampled in drawn}) > 5
