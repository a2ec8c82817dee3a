"""Figures of variety tell a varied set from a repetitive one, at 100 texts as at 5,000."""

import itertools
import math
import random
import re

import pytest

from synth.dataset.summary import Summary, remarks
from synth.engines.base import Message, ToolCall
from synth.quality import variety as module
from synth.quality.diversity import diversity
from synth.quality.variety import Reservoir, distinct, nearest, sampled, variety, vendi
from synth.store.rows import Row

WORDS = [f"w{rank}" for rank in range(3000)]
# As often as a language's words are (Zipf and Mandelbrot).
FREQUENCY = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(len(WORDS))))


def varied(count, seed=1, length=15):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, cum_weights=FREQUENCY, k=length)) for _ in range(count)]


def repetitive(count, ideas, seed=2):
    """`ideas` texts, each again and again with two words changed."""
    draw, bases = random.Random(seed), varied(ideas, seed)
    texts = []
    for _ in range(count):
        found = draw.choice(bases).split()
        for _ in range(2):
            found[draw.randrange(len(found))] = draw.choice(WORDS)
        texts.append(" ".join(found))
    return texts


def test_a_repetitive_set_is_told_at_any_size():
    for count in (100, 5000):
        good, poor = variety(varied(count)), variety(repetitive(count, 20))
        assert good.effective > 80
        assert poor.effective < 55
        assert good.nearest < 0.12
        assert poor.nearest > 0.5
        assert good.distinct_2 > 0.9
        assert poor.distinct_2 < 0.5


def test_the_figures_do_not_fall_with_the_size():
    few, many = variety(varied(1000)), variety(varied(5000))
    assert abs(few.effective - many.effective) < 2
    assert abs(few.effective_of_many - many.effective_of_many) < 15
    assert abs(few.nearest - many.nearest) < 0.01
    # As the share of all word pairs does.
    assert distinct(varied(5000), 2) < 0.9 * distinct(varied(1000), 2)


def test_what_repeats_itself_rarely_shows_in_the_larger_sample():
    good, poor = variety(varied(5000)), variety(repetitive(5000, 200))
    assert poor.effective > 0.9 * good.effective
    assert poor.effective_of_many < 0.7 * good.effective_of_many


def test_the_vendi_score_of_known_sets():
    assert vendi(["a b", "a b", "a b"]) == pytest.approx(1)
    assert vendi(["a b", "c d", "e f"]) == pytest.approx(3)
    assert vendi(["a b", "a b", "c d", "c d"]) == pytest.approx(2)
    # Two texts with half their words in common: eigenvalues (1 + k) / 2 and (1 - k) / 2, where
    # the words' cosine is 1/2 and that of the pairs 0.
    k = 0.25
    entropy = -sum(value * math.log(value) for value in ((1 + k) / 2, (1 - k) / 2))
    assert vendi(["a b", "b c"]) == pytest.approx(math.exp(entropy))
    assert vendi(["", "a b"]) == pytest.approx(2)


def test_the_nearest_of_known_sets():
    assert nearest(["the same", "the same", "other words"]) == pytest.approx(2 / 3, abs=0.05)
    assert nearest(["alone"]) is None


def test_distinct_counts_different_runs_of_words():
    assert distinct(["a b a b", "A b"], 1) == 2 / 6
    assert distinct(["a b a b", "A b"], 2) == 2 / 4
    assert distinct(["a"], 2) is None


def test_samples_divide_the_texts_whatever_their_order():
    texts = varied(250)
    seen = []
    assert sampled(texts, lambda sample: seen.extend(sample) or 1.0) == 1.0
    assert len(seen) == len(set(seen)) == 200
    assert sampled(texts[:99], lambda sample: 1.0) is None
    assert sampled(texts[:100], lambda sample: distinct(sample, 2)) == distinct(texts[:100], 2)
    assert sampled(texts, lambda sample: None) is None
    in_a_row = [text for text in repetitive(40, 40) for _ in range(100)]
    assert sampled(in_a_row, vendi) < 0.5 * sampled(varied(4000), vendi)


def test_a_reservoir_keeps_an_even_sample(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 100)
    reservoir = Reservoir()
    for number in range(10_000):
        reservoir.add(str(number))
    assert reservoir.count == 10_000
    assert len(reservoir.texts) == 100
    numbers = [int(text) for text in reservoir.texts]
    assert 3500 < sum(numbers) / 100 < 6500


def test_calls_are_turns_of_the_agent_s():
    call = ToolCall("c1", "find", '{"id": 3}')
    turns = (Message("assistant", "", tool_calls=(call,)), Message("tool", "", tool_call_id="c1"))
    found = diversity([Row(0, "a", "p", (), "x", conversation=turns)], [0])
    assert found.kinds["agent turns"].texts == 1
    assert "environment turns" not in found.kinds  # it gave nothing back


def test_reasons_and_turns_are_measured_and_told():
    inputs, reasons, pages = varied(120), repetitive(120, 20), varied(120, 3)
    rows = [
        Row(number, str(number), "p", (), f"Find: {inputs[number]}", reason=reasons[number],
            conversation=(Message("assistant", "search"), Message("user", pages[number]),
                          Message("assistant", "click")))
        for number in range(120)
    ]  # fmt: skip
    found = diversity(rows, list(range(120)))
    assert [of.texts for of in found.kinds.values()] == [120, 120, 240, 120]
    assert found.kinds["inputs"] == variety(inputs)  # without the form that all share
    assert found.kinds["agent turns"].effective == pytest.approx(2, abs=0.1)
    lines = remarks(Summary(120, 120, {}, diversity=found))
    told = [line for line in lines if line.startswith("Variety")]
    assert [line.partition(",")[0] for line in told] == [
        f"Variety of the {kind}"
        for kind in ("120 inputs", "120 reasons", "240 agent turns", "120 environment turns")
    ]
    assert f"effective number: {found.kinds['reasons'].effective:.0f} in 100; " in told[1]
    many = remarks(Summary(0, 0, {}, diversity=diversity([*rows] * 9, list(range(1080)))))
    [line] = [line for line in many if "1,080 inputs" in line]
    assert re.search(r"effective number: \d+ in 100, \d+ in 1,000; ", line)
