"""Which rows recite the prompt, and rows that can't."""

import itertools

import pytest

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pairs
from genpi_plugin.data.rows import parse
from genpi_plugin.data.shares import reciting_rows, unrecited
from genpi_plugin.errors import RowError
from tests.genpi_plugin.rows_made import our_row, paper
from tests.tiny import make_tokenizer


def row(place, prompt="p", **changes):
    return parse(our_row(id=f"r{place}", prompt_id=prompt, **changes), "w")


def recited(rows, share):
    """How many rows of each prompt recite."""
    chosen = reciting_rows(rows, share)
    prompts = sorted({one.prompt_id for one in rows})
    return [sum(rows[place].prompt_id == prompt for place in chosen) for prompt in prompts]


@pytest.mark.parametrize("prompts", [1, 2, 4, 5])
def test_each_of_prompts_in_turn_has_its_share(prompts):
    rows = [row(place, f"p{place % prompts}") for place in range(40 * prompts)]
    assert recited(rows, 0.25) == [10] * prompts


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_prompt_with_few_rows_is_recited_once(count):
    assert recited([row(place) for place in range(count)], 0.25) == [1]


def test_none_and_all():
    rows = [row(place) for place in range(7)]
    assert reciting_rows(rows, 0.0) == set()
    assert reciting_rows(rows, 1.0) == set(range(7))


def test_the_choice_is_by_id_and_not_by_place():
    rows = [row(place) for place in range(200)]
    chosen = {rows[place].id for place in reciting_rows(rows, 0.3)}
    pattern = sorted(reciting_rows(rows, 0.3))
    assert len({b - a for a, b in itertools.pairwise(pattern)}) > 3
    turned = rows[::-1]
    assert chosen == {turned[place].id for place in reciting_rows(turned, 0.3)}
    more = [*rows, *(row(place) for place in range(200, 220))]
    assert len(chosen & {more[place].id for place in reciting_rows(more, 0.3)}) >= 50


def test_rows_of_one_id_are_told_apart():
    rows = [row(0) for _ in range(100)]
    assert len(reciting_rows(rows, 0.25)) == 25


def test_rows_without_reason_or_floor_output_are_rows_that_do_not_recite():
    rows = [row(0), row(1, reason=None), row(2, floor_output=None), row(3)]
    assert reciting_rows(rows, 1.0) == {0, 3}
    made = make_pairs(rows, ChatView(make_tokenizer()), paper(prompt_generation_share=1.0))
    assert [bool(pair.prompt_generation) for pair in made] == [True, False, False, True]
    assert all(pair.behaviour for pair in made)


def test_a_row_may_lack_the_columns_as_well():
    raw = our_row()
    del raw["reason"], raw["floor_output"]
    assert not parse(raw, "w").can_recite


def test_an_empty_reason_is_refused_still():
    with pytest.raises(RowError, match="`reason` is empty"):
        row(0, reason=" ")


def test_prompts_that_nothing_recites_are_told():
    rows = [row(0), row(1), row(2, "q", reason=None), row(3, "r", floor_output=None)]
    assert unrecited(rows, reciting_rows(rows, 0.25)) == ["q", "r"]
    assert unrecited(rows[:2], reciting_rows(rows[:2], 0.25)) == []
