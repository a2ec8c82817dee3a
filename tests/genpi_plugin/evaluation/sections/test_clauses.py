"""Clauses: the split is a partition of the prompt, the shares have known answers, and both on a
tiny model give what a plain loop over full forwards gives."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.rows import parse_prompt, prompt_text
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.measure import measure
from genpi_plugin.evaluation.sections.clauses import measure_clauses, summarize_clauses
from genpi_plugin.evaluation.sections.clauses.blocks import blocks
from genpi_plugin.evaluation.sections.clauses.clause_file import read_clause_file, split_by_excerpts
from genpi_plugin.evaluation.sections.clauses.measure import evenly_spaced
from genpi_plugin.evaluation.sections.clauses.shares import (
    DEAD_BELOW,
    effect,
    internalized,
    is_dead,
    losses,
)
from genpi_plugin.evaluation.sections.clauses.split import split, text_of, without
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.tiny import make_model, make_tokenizer


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


RULES = """You shop for a customer.

# Rules

How to shop:
1. Search first.
   With few words.
2. Choose the size.
   - small
   - large
Answer with this:

```
Thought: ...

Action: ...
```
"""
PROMPT = [system(RULES), user("a red shirt"), assistant("search[red shirt]"),
          user("a cotton shirt"), assistant("search[cotton shirt]")]  # fmt: skip


def shown(prompt):
    return [(part.kind, text_of(prompt, part)) for part in split(prompt)]


def test_items_paragraphs_turns_and_what_heads_them():
    assert shown(PROMPT) == [
        ("paragraph", "You shop for a customer."),
        ("frame", "# Rules"),
        ("frame", "How to shop:"),
        ("item", "1. Search first.\n   With few words."),
        ("item", "2. Choose the size.\n   - small\n   - large\nAnswer with this:"),
        ("paragraph", "```\nThought: ...\n\nAction: ...\n```"),
        ("turns", "<USER>: a red shirt\n<AGENT>: search[red shirt]"),
        ("turns", "<USER>: a cotton shirt\n<AGENT>: search[cotton shirt]"),
    ]


def test_a_heading_goes_with_the_one_block_it_heads():
    content = "# Form\nAnswer so:\n\nThought:\none line\n\n# Tone\nBe kind.\n\nBe short.\n\nBye:"
    assert [(kind, content[start:end].strip()) for kind, start, end in blocks(content)] == [
        ("paragraph", "# Form\nAnswer so:\n\nThought:\none line"),
        ("frame", "# Tone"),
        ("paragraph", "Be kind."),
        ("paragraph", "Be short."),
        ("paragraph", "Bye:"),  # heads nothing
    ]


def test_a_sentence_a_line_is_a_clause_a_line_and_wrapped_prose_is_not():
    assert len(blocks("You shop.\nYou see a page.\nYou click on it.\nNever ask.")) == 4
    assert (
        len(blocks("You shop for a customer. You see\na page and click. There is\nno asking.")) == 1
    )


def test_instructions_in_a_first_user_turn_are_split_and_their_ok_stays():
    prompt = [user("You shop.\n\nNever ask."), assistant("Ok."), user("a shirt"),
              assistant("search[shirt]"), user("Now my request:")]  # fmt: skip
    assert [part[0] for part in shown(prompt)] == [
        "paragraph", "paragraph", "frame", "turns", "paragraph"
    ]  # fmt: skip


LINES = st.sampled_from([
    "", "", "  ", "# A", "## B", "**C**", "Rules:", "- one", "  - nested", "2. two", "a) three",
    "    more", "Text of it.", "word", "```", "Ünïcode 文。", "\t- x", "- ", "\r", "x\x0cy",
    "\u2028",
])  # fmt: skip
CONTENT = st.lists(LINES, min_size=1, max_size=12).map("\n".join).filter(str.strip)


@st.composite
def prompts(draw):
    messages = [system(draw(CONTENT))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0 if messages else 1, 3))):
        messages += [user(draw(CONTENT)), assistant(draw(CONTENT))]
    return [*messages, *([user(draw(CONTENT))] if draw(st.booleans()) else [])]


@settings(max_examples=300, deadline=None)
@given(prompts())
def test_parts_are_the_prompt_and_without_any_of_them_it_is_well_formed(prompt):
    parts = split(prompt)
    spans = [span for part in parts for span in part.spans]
    pieces = [prompt[span.message]["content"][span.start : span.end] for span in spans]
    assert "".join(pieces) == "".join(message["content"] for message in prompt)
    assert [span.message for span in spans] == sorted(span.message for span in spans)
    for part in parts:
        assert text_of(prompt, part) or part.kind == "frame"
        rest = without(prompt, part)
        if part.kind != "frame" and rest:
            parse_prompt(rest, "prompt", "here")  # raises where roles are out of order
            assert len(prompt_text(rest)) < len(prompt_text(prompt))


def test_marked_clauses_and_all_that_can_be_wrong_with_them(tmp_path):
    file = tmp_path / "clauses.yml"
    file.write_text("few: With few words.\nred:\n- a red shirt\n- search[red shirt]\n")
    parts = split_by_excerpts(PROMPT, read_clause_file(file))
    assert [(part.name, part.kind) for part in parts if part.kind != "frame"] == [
        ("few", "marked"), ("red", "marked")
    ]  # fmt: skip
    covered = sorted((s.message, s.start, s.end) for part in parts for s in part.spans)
    assert "".join(PROMPT[m]["content"][a:b] for m, a, b in covered) == "".join(
        message["content"] for message in PROMPT
    )
    red = next(part for part in parts if part.name == "red")
    assert without(PROMPT, red) == [PROMPT[0], *PROMPT[3:]]
    for excerpts, said in [
        ({"x": ["red"]}, "occurs 2 times"),
        ({"x": ["blue"]}, "occurs 0 times"),
        ({"x": ["Search first."], "y": ["first.\n   With"]}, "overlap"),
        ({"x": ["a red shirt"]}, "no longer alternate"),
    ]:
        with pytest.raises(GenPIError, match=said):
            split_by_excerpts(PROMPT, excerpts)
    for text, said in [("- a\n", "not a mapping"), ("a: [1]\n", "clause 'a'"), ("a: [\n", "YAML")]:
        file.write_text(text)
        with pytest.raises(GenPIError, match=said):
            read_clause_file(file)


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


def test_inputs_are_spread_over_all():
    assert evenly_spaced(5, 10) == [0, 1, 2, 3, 4]
    assert evenly_spaced(100, 4) == [0, 25, 50, 75]


INPUTS = ["a red shirt", "I need a cotton shirt in size medium", "shirt", "results page, Buy Now"]


class Quiet:
    def __call__(self, label, total):
        return contextlib.nullcontext(lambda count: None)


@pytest.fixture(scope="module")
def context():
    model, view = make_model(), ChatView(make_tokenizer())
    teacher = Subject("teacher", model, view, PROMPT, batch_size=3)
    floor = Subject("floor", model, view, batch_size=3)
    # Students with known answers: the teacher itself, the floor, the teacher without one clause.
    part = split(PROMPT)[6]
    students = [
        Subject("without a turn", model, view, without(PROMPT, part), batch_size=3),
        Subject("all", model, view, PROMPT, batch_size=3),
        Subject("none", model, view, batch_size=3),
    ]
    measured = measure(INPUTS, teacher, [floor, *students], {}, 8, Quiet())
    data = HeldOut(INPUTS, PROMPT, "p", "here", in_training=0)
    return Context(data, teacher, floor, students, measured, {}, 8, Quiet(), seed=0)


def test_measured_effects_are_those_of_full_forwards(context):
    seen = measure_clauses(context)
    model, view = context.teacher.model, context.teacher.view
    clauses = [part for part in split(PROMPT) if part.kind != "frame"]

    def logprobs(prompt, text, answer):
        ids = view.request_ids([*prompt, user(text)])
        with torch.no_grad():
            logits = model(torch.tensor([ids + answer]), use_cache=False).logits[0]
        return logits[len(ids) - 1 : -1].log_softmax(-1)

    for part, clause in zip(clauses, seen.clauses, strict=True):
        for place, text in enumerate(INPUTS):
            answer = context.measured.answers["teacher"][place].ids
            true = logprobs(PROMPT, text, answer)
            other = logprobs(without(PROMPT, part), text, answer)
            plain = (true.exp() * (true - other)).sum(-1)
            assert clause.effect[place] == pytest.approx(plain.tolist(), abs=1e-4)


def test_figures_of_known_students_and_what_a_report_needs(context):
    seen = measure_clauses(context)
    summary = summarize_clauses(seen, seed=0)
    values = [clause["effect"]["value"] for clause in summary["clauses"]]
    assert values == sorted(values, reverse=True)
    assert sum(clause["effect_share"] for clause in summary["clauses"]) == pytest.approx(1.0)
    assert {clause["number"] for clause in summary["clauses"]} == set(range(1, 7))
    assert summary["frame"] == ["# Rules", "How to shop:"]
    alive = [clause for clause in summary["clauses"] if not clause["dead"]]
    assert alive
    for clause in alive:
        assert clause["students"]["all"]["value"] == pytest.approx(1.0, abs=1e-3)
        assert clause["students"]["none"]["value"] == pytest.approx(0.0, abs=1e-3)
        assert clause["internalized"] == clause["students"]["without a turn"]
    fifth = next(clause for clause in alive if clause["number"] == 5)
    assert fifth["text"].startswith("<USER>: a red shirt")
    assert fifth["internalized"]["value"] == pytest.approx(0.0, abs=1e-3)
    assert min(clause["internalized"]["value"] for clause in alive) == \
        fifth["internalized"]["value"]  # fmt: skip
    worst = fifth["worst"][0]
    assert worst["without"] == worst["student"]  # that student is the teacher without it
    for clause in summary["clauses"]:
        assert (clause["internalized"] is None) == clause["dead"] == bool(clause["why"])
    assert asdict(seen)["clauses"][0]["effect"]


def test_a_cap_is_told(context):
    summary = summarize_clauses(measure_clauses(context, max_inputs=2), seed=0)
    assert (summary["n_inputs"], summary["n_available"]) == (2, 4)
