import random

import pytest

from synth.quality.dedup import KnownTexts, groups, shingles, similarity
from synth.quality.diversity import distinct, diversity, without_form
from tests.synth.running.test_pipeline import Scripted, make, texts
from tests.synth.scripted import make_task

WORDS = [f"{a}{b}" for a in ("red", "blue", "soft", "big", "old") for b in range(200)]


def sentences(count, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=12)) for _ in range(count)]


def changed(text, words, seed):
    """The text with some of its words replaced."""
    draw, parts = random.Random(seed), text.split()
    for place in draw.sample(range(len(parts)), words):
        parts[place] = draw.choice(WORDS)
    return " ".join(parts)


def naive(pool, threshold):
    """What is taken in when every text is compared with all before it."""
    taken, out = [], []
    for text in pool:
        alike = [similarity(shingles(text), shingles(other)) for other in taken]
        if alike and max(alike) >= threshold:
            out.append(taken.index(taken[alike.index(max(alike))]))
        else:
            taken.append(text)
    return taken, out


def test_the_same_texts_are_taken_as_by_comparing_all_pairs():
    first = sentences(120)
    pool = first + [changed(text, number % 4, number) for number, text in enumerate(first)]
    random.Random(3).shuffle(pool)
    known, taken, twins = KnownTexts(0.7), [], []
    for text in pool:
        fault = known.add(text, str(len(taken)))
        if fault is None:
            taken.append(text)
        else:
            twins.append(int(fault[1].split()[-1]))
    assert (taken, twins) == naive(pool, 0.7)
    assert 40 < len(twins) < 115  # some changed texts are near, and some are not


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("I need a desk lamp", "i need  a desk lamp", True),
        ("find item number 6", "find item number 7", False),
        ("find me sugar free dark chocolate with almonds, price lower than 30.00 dollars",
         "find me sugar free dark chocolate with almonds, price lower than 20.00 dollars", True),
        ("find me sugar free dark chocolate with almonds, price lower than 30.00 dollars",
         "find me a waterproof tent in dark green, price lower than 30.00 dollars", False),
    ],
)  # fmt: skip
def test_what_is_near(one, other, near):
    known = KnownTexts(0.8)
    known.add(one, "the first")
    fault = known.add(other, "the second")
    assert (fault is not None) is near
    assert fault is None or fault[1].endswith("the same as the first")


def test_at_1_only_equal_texts_are_duplicates():
    known = KnownTexts(1.0)
    assert known.add("find me a tent in green", "a") is None
    assert known.add("find me a tent in greens", "b") is None
    assert known.add("Find me a TENT in green", "c") == ("duplicate", "the same as a")


def test_two_texts_that_are_sent_alike_are_duplicates():
    known = KnownTexts(0.8)
    assert known.add("a first text", "a", "sent") is None
    assert known.add("something else", "b", "sent") == ("duplicate", "the same as a")


def form(text):
    return (
        f'Observation:\n"WebShop [SEP] Instruction: [SEP] {text} [SEP] Search"\n\n'
        'Available Actions:\n{"has_search_bar": true, "clickables": ["search"]}'
    )


def test_an_application_s_form_makes_no_near_duplicates():
    own = sentences(40)
    pool = [form(text) for text in own]
    pool[7] = form(changed(own[3], 1, 0))
    pool[30] = form(changed(own[3], 1, 1))
    heads = groups(pool, 0.6)
    assert heads == [3 if number in (7, 30) else number for number in range(40)]


def test_near_duplicates_that_are_many_are_no_form():
    """A third of the inputs repeat one text but for a number."""
    own = [form(text) for text in sentences(40)]
    complaint = "I have waited for two weeks now, and none of your people answers my letters."
    repeated = [f"Where is my order number {n}? {complaint}" for n in range(100, 120)]
    pool = own + repeated
    random.Random(1).shuffle(pool)
    heads = groups(pool, 0.8)
    assert len({heads[pool.index(text)] for text in repeated}) == 1


def test_the_form_is_looked_for_in_all_of_the_inputs():
    """Those that come first have another one."""
    long = "Rules: " + " ".join(f"rule {n} holds" for n in range(40))
    pool = [f"plain {text}" for text in sentences(40)] + [f"{long} {t}" for t in sentences(900, 1)]
    assert len(set(groups(pool, 0.8))) == len(pool)


def test_texts_without_spaces_have_near_duplicates_too():
    one, other = (f"请帮我找一件红色的纯棉衬衫，价格低于{price}元，要大号" for price in (300, 200))
    assert similarity(shingles(one), shingles(other)) > 0.8
    assert similarity(shingles(one), shingles("我想要一个带调光器的台灯，三十元以内")) < 0.2


def test_groups_are_chains():
    chain = ["find a tent in aaaa", "find a tent in eeee", "want a tent in eeee"]
    assert similarity(shingles(chain[0]), shingles(chain[2])) < 0.4
    assert groups(["other", *chain], 0.4) == [0, 1, 1, 1]


def test_given_inputs_are_kept_and_their_near_duplicates_stay_together(tmp_path):
    from synth.dataset.export import export_rows
    from synth.task.inputs.lines import GivenInputs

    own = [" ".join(pair) for pair in zip(sentences(20), sentences(20, 1), strict=True)]
    pool = own + [changed(text, 1, 0) for text in own]
    task = make_task(tmp_path / "t", conversations={"max_turns": 1})
    store, _ = make(task, Scripted(), given=GivenInputs(tuple(pool)))
    counts = export_rows(store, tmp_path, 0.3, 0)
    assert sum(counts.values()) == 40
    assert counts["test"] in range(4, 20, 2)
    import pyarrow.parquet as pq

    test = {row["input"] for row in pq.read_table(next(tmp_path.glob("data/test*"))).to_pylist()}
    for number, text in enumerate(own):
        assert (text in test) == (pool[20 + number] in test)


def test_distinct_counts_different_runs_of_words():
    assert distinct(["a b a b", "A b"], 1) == 2 / 6
    assert distinct(["a b a b", "A b"], 2) == 2 / 4
    assert distinct(["a"], 2) is None


def test_what_all_texts_begin_and_end_with_is_left_out():
    assert without_form(["see: a b now", "see: c now"]) == ["a b", "c"]
    assert without_form(["only one"]) == ["only one"]
    assert without_form(["same", "same"]) == ["", ""]


def test_diversity_of_rows(tmp_path):
    store, _ = make(make_task(tmp_path), Scripted(), given=texts(5))
    found = diversity(store.rows())
    assert found.distinct_1 == 1.0  # "find item" is what all begin with
    assert found.near_duplicates == 0
    assert found.lengths["input"].most == 1
    assert str(found.lengths["reason"]) == "59 (59 to 59)"
    assert diversity([]) is None
