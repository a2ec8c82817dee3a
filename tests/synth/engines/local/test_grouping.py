"""Which requests are read together, and how much of them once."""

from __future__ import annotations

import random

from synth.engines.local.grouping import Group, choose_group, shared_prefix


def test_shared_prefix_equals_the_naive_count():
    draw = random.Random(0)
    for _ in range(200):
        a = [draw.randrange(2) for _ in range(draw.randrange(12))]
        b = [*a[: draw.randrange(12)], *(draw.randrange(2) for _ in range(draw.randrange(6)))]
        naive = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        assert shared_prefix(a, b) == (min(len(a), len(b)) if naive is None else naive)


def test_rows_with_the_prompt_go_together_and_share_it():
    prompt = list(range(1000, 1100))
    waiting = [[*prompt, i, i] for i in range(5)] + [[i, i, i] for i in range(5)]
    assert choose_group(waiting, [], size=16) == Group((0, 1, 2, 3, 4), 100)
    assert choose_group(waiting[5:] + waiting[:5], [], size=16) == Group((0, 1, 2, 3, 4), 0)
    assert choose_group(waiting, [], size=3).rows == (0, 1, 2)
    assert choose_group(waiting, [], size=16, share=False).prefix == 0


def test_what_two_rows_share_beyond_the_prompt_is_not_taken_for_the_prompt():
    prompt = list(range(1000, 1100))
    waiting = [[*prompt, 1, 1, 1, 1], [*prompt, 1, 1, 1, 2]] + [[*prompt, i] for i in range(3, 9)]
    assert choose_group(waiting, [], size=16).prefix == 100
    assert choose_group(waiting[:2], [100], size=16).prefix == 100


def test_a_lone_row_uses_a_known_prefix_and_leaves_a_token_to_read():
    ids = list(range(200))
    assert choose_group([ids], [150], size=16) == Group((0,), 150)
    assert choose_group([ids], [], size=16) == Group((0,), 0)
    assert choose_group([ids, ids], [], size=16) == Group((0, 1), 199)


def test_rows_of_unlike_length_are_not_padded_to_each_other():
    waiting = [[1] * 10, [2] * 900, [3] * 20]
    assert choose_group(waiting, [], size=16).rows == (0, 2)


def test_a_long_row_unlike_all_others_is_its_own_prefix():
    waiting = [[1] * 900, [2] * 900, [1] * 200]
    assert choose_group(waiting, [], size=16) == Group((0,), 899)
    assert choose_group(waiting, [], size=16, share=False).rows == (0, 1)
    assert choose_group(waiting, [500], size=16) == Group((0,), 500)
    many = [[kind] * 900 for kind in range(5)]
    assert choose_group(many, [], size=16) == Group((0, 1, 2, 3, 4), 0)
