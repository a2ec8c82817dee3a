import random

from synth.dataset.holdout import FIRST, held_out

IDS = [f"row{number}" for number in range(2000)]


def test_more_rows_move_none():
    """With every count, for several seeds and shares."""
    for seed in range(5):
        for share in (0.02, 0.1, 0.5, 0.9):
            whole = held_out(IDS, share, seed)
            for count in (10, 11, 50, 200, 250, 1999):
                assert held_out(IDS[:count], share, seed) == whole & set(IDS[:count])


def test_more_rows_move_no_near_duplicates_either():
    draw = random.Random(0)
    heads = list(range(2000))
    for number in range(300, 2000, 7):  # each joins an earlier row, or that one's group
        heads[number] = heads[draw.randrange(number)]
    for seed in range(5):
        whole = held_out(IDS, 0.2, seed, heads)
        for count in (300, 301, 700, 1500):
            assert held_out(IDS[:count], 0.2, seed, heads[:count]) == whole & set(IDS[:count])
        assert all((name in whole) == (IDS[head] in whole)
                   for name, head in zip(IDS, heads, strict=True))  # fmt: skip


def test_the_test_split_has_its_share_but_for_a_row_or_two():
    for share in (0.05, 0.1, 0.15, 1 / 3, 0.5, 0.9):
        for seed in range(20):
            for count in (100, 333, 2000):
                assert abs(len(held_out(IDS[:count], share, seed)) - share * count) <= 2
    assert held_out(IDS, 0, 0) == set()


def test_rows_that_are_missing_move_none():
    """Rejected rows, and pending ones, leave gaps in the positions."""
    places = [number for number in range(2000) if number % 7]
    for seed in range(5):
        whole = held_out(IDS, 0.2, seed)
        some = held_out([IDS[at] for at in places], 0.2, seed, positions=places)
        # The first row trains, wherever it is, and one of the first ten is held out.
        assert some ^ (whole & {IDS[at] for at in places}) <= set(IDS[: FIRST + 2])


def test_another_seed_draws_others():
    assert len(held_out(IDS, 0.1, 0) & held_out(IDS, 0.1, 1)) < 50


def test_a_small_dataset_has_a_test_row_and_a_train_row():
    for seed in range(200):
        ids = [f"{seed}-{number}" for number in range(FIRST)]
        assert held_out(ids, 0.001, seed)
        assert len(held_out(ids, 0.999, seed)) < FIRST
        assert held_out(ids[:1], 0.999, seed) == set()


def test_the_split_parts_no_group():
    ids = [f"row{number}" for number in range(100)]
    group = [number // 3 for number in range(100)]
    for seed in range(20):
        test = held_out(ids, 0.2, seed, group)
        assert 5 < len(test) < 40
        inside = {group[ids.index(name)] for name in test}
        assert all((name in test) == (of in inside) for name, of in zip(ids, group, strict=True))
    assert held_out(ids, 0.2, 0) == held_out(ids, 0.2, 0, range(100))


def test_a_group_as_large_as_the_dataset_is_not_held_out():
    ids = [f"row{number}" for number in range(20)]
    large = set(ids[1:16])
    for seed in range(20):
        assert held_out(ids, 0.5, seed, [0] * 20) == set()
        assert not held_out(ids, 0.5, seed, [0, *[1] * 15, *range(16, 20)]) & large


def test_rows_that_were_drawn_before_stay_and_their_near_duplicates_join_them():
    ids = IDS[:40]
    free = held_out(ids, 0.3, 0)
    recorded = {name: "train" if name in free else "test" for name in ids[:20]}
    test = held_out(ids, 0.3, 0, recorded=recorded)
    assert test == {name for name in ids[:20] if name not in free} | (free & set(ids[20:]))
    # Row 30 is like rows 3 and 5, which were drawn apart; it goes with the first.
    heads = list(range(40))
    heads[5] = heads[30] = 3
    for three, five in (("test", "train"), ("train", "test")):
        apart = {ids[3]: three, ids[5]: five}
        test = held_out(ids, 0.3, 0, heads, apart)
        assert [(ids[number] in test) for number in (3, 5, 30)] == [
            three == "test", five == "test", three == "test"
        ]  # fmt: skip
