"""Runs of words that two texts share, against naive references."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genpi_plugin.evaluation.figures.shared_words import common_run, longest_run, words


def brute_force(left, right):
    """The longest run, by trying every one."""
    runs = {tuple(left[a:b]) for a in range(len(left) + 1) for b in range(a, len(left) + 1)} & {
        tuple(right[a:b]) for a in range(len(right) + 1) for b in range(a, len(right) + 1)
    }
    return max(len(run) for run in runs)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=9))
def test_the_longest_run_is_that_of_a_brute_force_script(left, right):
    run = common_run(left, right)
    assert run.stop - run.start == brute_force(left, right)
    assert brute_force(left[run], right) == run.stop - run.start


@given(st.text(max_size=30), st.text(max_size=30))
def test_runs_of_texts_are_runs_of_their_words(answer, prompt):
    assert longest_run(answer, prompt) == brute_force(words(answer), words(prompt))
    assert longest_run(answer, answer) == len(words(answer))


def test_words_and_runs_by_hand():
    assert words("You're a SHOP, aren't you?  42!") == [
        "you", "re", "a", "shop", "aren", "t", "you", "42",
    ]  # fmt: skip
    assert words("长城 in 2 Sätzen") == ["长", "城", "in", "2", "sätzen"]
    assert longest_run("- **You are** a\nshop!", "you are, a shop assistant") == 4
    assert longest_run("", "anything") == longest_run("anything", "") == 0
    # A common word does not fall away in a long prompt, as it does in difflib's default.
    assert longest_run("the " * 3, "now " + "the " * 300 + "end") == 3
