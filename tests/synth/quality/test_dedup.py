import random
import tracemalloc

import pytest

from synth.quality.dedup import (
    INDEXED,
    MISSED,
    KnownTexts,
    NearIndex,
    bands,
    groups,
    own_pieces,
    shingles,
    similarity,
)
from synth.quality.diversity import diversity, without_form
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
    from genpi_plugin.data.inputs.given import GivenInputs
    from synth.dataset.export import export_rows

    own = [" ".join(pair) for pair in zip(sentences(20), sentences(20, 1), strict=True)]
    pool = own + [changed(text, 1, 0) for text in own]
    task = make_task(tmp_path / "t", conversations={"max_turns": 1})
    store, _ = make(task, Scripted(), given=GivenInputs.of_texts(pool))
    counts = export_rows(store, tmp_path, 0.3, 0)
    assert sum(counts.values()) == 40
    assert counts["test"] in range(4, 20, 2)
    import pyarrow.parquet as pq

    test = {row["input"] for row in pq.read_table(next(tmp_path.glob("data/test*"))).to_pylist()}
    for number, text in enumerate(own):
        assert (text in test) == (pool[20 + number] in test)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_the_bands_miss_few_by_their_formula(threshold):
    count, values = bands(threshold)
    assert count * values <= INDEXED
    assert (1 - threshold**values) ** count <= MISSED


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
def test_nearly_all_pairs_are_found_that_comparing_all_finds(threshold):
    """Near duplicates at the threshold and above it; the least similar ones are the most likely to
    be missed, and there are thousands of them."""
    draw = random.Random(int(threshold * 10))
    index, pairs, found = NearIndex(threshold), 0, 0
    taken, gaps = [], []
    for number, text in enumerate(sentences(700)):
        one = text + " " + sentences(1, 9000 + number)[0]
        for words in range(8):
            other = changed(one, words, draw.randrange(10**6))
            value = similarity(shingles(one), shingles(other))
            if threshold <= value < threshold + 0.05:
                taken.append((one, other))
                gaps.append(value - threshold)
    for one, _ in taken:
        index.add(one, index.sketch(one))
    for number, (_, other) in enumerate(taken):
        pairs += 1
        found += number in index.near(index.sketch(other))
    assert pairs > 300
    assert min(gaps) < 0.005
    # 0.5 % at the threshold itself, and less above it.
    assert found >= pairs * (1 - MISSED)


def test_groups_are_those_of_comparing_all_pairs():
    first = sentences(150)
    pool = first + [changed(text, 1 + number % 3, number) for number, text in enumerate(first)]
    random.Random(5).shuffle(pool)
    pieces = list(map(own_pieces(pool), pool))
    head = list(range(len(pool)))
    for number in range(len(pool)):
        for other in range(number):
            if similarity(pieces[number], pieces[other]) >= 0.7:
                old, new = sorted((head[number], head[other]), reverse=True)
                head = [new if one == old else one for one in head]
    assert groups(pool, 0.7) == head
    assert 40 < len(pool) - len(set(head)) < 150
    assert groups(pool, 0.7) == groups(pool, 0.7)


def test_a_large_group_is_compared_once_a_text(monkeypatch):
    pool = [f"Where is my order number {n}? I have waited for two weeks now." for n in range(200)]
    pool += sentences(100)
    compared = []
    exact = NearIndex.similarity_to
    monkeypatch.setattr(NearIndex, "similarity_to",
                        lambda *given: compared.append(1) or exact(*given))  # fmt: skip
    assert groups(pool, 0.8) == [0] * 200 + list(range(200, 300))
    assert len(compared) < 3 * len(pool)


def test_what_is_kept_of_a_text_does_not_grow_with_its_pieces():
    """A text of 4,000 characters has as many pieces, of eight bytes each as numbers alone."""
    index = NearIndex(0.8)
    texts_ = [" ".join(sentences(60, seed))[:4000] for seed in range(100)]
    index.add(texts_[0], index.sketch(texts_[0]))
    tracemalloc.start()
    for text in texts_[1:]:
        index.add(text, index.sketch(text))
    kept = tracemalloc.get_traced_memory()[0] / 99
    tracemalloc.stop()
    assert kept < 16_000


def test_what_all_texts_begin_and_end_with_is_left_out():
    assert without_form(["see: a b now", "see: c now"]) == ["a b", "c"]
    assert without_form(["only one"]) == ["only one"]
    assert without_form(["same", "same"]) == ["", ""]
    assert without_form(["a b", "a b c a b"]) == ["", "c a b"]


def test_diversity_of_rows(tmp_path):
    store, _ = make(make_task(tmp_path), Scripted(), given=texts(5))
    found = diversity(store.rows())
    assert found.distinct_1 == 1.0  # "find item" is what all begin with
    assert found.near_duplicates == 0
    assert found.lengths["input"].most == 1
    assert set(found.kinds) == {"inputs", "reasons", "agent turns", "environment turns"}
    assert found.kinds["inputs"].texts == 5
    assert found.kinds["inputs"].effective is None  # too few to tell
    assert str(found.lengths["reason"]) == "59 (59 to 59)"
    assert diversity([]) is None
