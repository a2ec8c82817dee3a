import asyncio

import pytest

from synth.engines.base import Answer
from synth.errors import RowError, SynthError
from synth.stages.inputs import input_request, inputs
from synth.task.given import read_inputs
from tests.synth.scripted import PROMPT, SEEDS, Scripted, make_task


def make(task, engine, seed=0):
    rejected = []

    async def collect():
        return [text async for text in inputs(task, engine.generate, seed, rejected.append)]

    return asyncio.run(collect()), rejected


def by_try(task, texts, seed=0):
    """A script that answers try i with texts[i]."""
    number = {input_request(task, seed, i).seed: i for i in range(len(texts))}
    return lambda messages, seed: texts[number[seed]]


def test_a_try_depends_on_the_seed_and_its_number_alone(tmp_path):
    task = make_task(tmp_path)
    assert input_request(task, 0, 5) == input_request(task, 0, 5)
    assert input_request(task, 0, 5).seed != input_request(task, 0, 6).seed
    assert input_request(task, 0, 5).seed != input_request(task, 1, 5).seed


def test_a_try_shows_the_prompt_and_the_seeds_as_answers(tmp_path):
    task = make_task(tmp_path, inputs={"shots": 9, "seeds": SEEDS})
    messages = input_request(task, 0, 0).messages
    assert [turn.role for turn in messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert PROMPT in messages[0].content
    assert {messages[2].content, messages[4].content} == set(SEEDS)
    assert {turn.content for turn in messages[1::2]} == {"Write a new shopping request."}
    hidden = make_task(tmp_path / "b", inputs={"show_prompt": False, "shots": 1})
    messages = input_request(hidden, 0, 0).messages
    assert PROMPT not in messages[0].content
    assert len(messages) == 4


def test_inputs_come_in_order_of_try_wrapped(tmp_path):
    task = make_task(tmp_path, inputs={"count": 3, "wrap": "Obs: {{ text }}"})
    made, rejected = make(task, Scripted(by_try(task, ["text one", " text two\n", "text three"])))
    assert made == ["Obs: text one", "Obs: text two", "Obs: text three"]
    assert not rejected


def test_what_is_not_new_or_well_formed_is_tried_again_and_named(tmp_path):
    task = make_task(tmp_path, inputs={"count": 3, "pattern": "[a-z ]+", "max_chars": 20})
    texts = [
        "a blue hat",
        "A  Blue\nHAT",  # folds to the first, but the pattern comes first
        "a blue  hat",
        SEEDS[0],
        "",
        Answer("cut off here", "length"),
        "tiny",
        "much longer than twenty characters",
        RowError("longer than the model's context"),
        "a green hat",
        "a red hat",
    ]
    texts += ["a pink hat"] * 20
    made, rejected = make(task, Scripted(by_try(task, texts)))
    assert made == ["a blue hat", "a green hat", "a red hat"]
    assert [(r.position, r.reason) for r in rejected] == [
        (1, "does not match inputs.pattern"),
        (2, "duplicate"),
        (3, "longer than 20 characters"),
        (4, "empty"),
        (5, "cut by the token limit"),
        (6, "shorter than 8 characters"),
        (7, "longer than 20 characters"),
        (8, "longer than the model's context"),
    ]
    assert rejected[1].detail == "the same as try 0"


def test_a_copy_of_a_seed_is_a_duplicate(tmp_path):
    task = make_task(tmp_path, inputs={"count": 1})
    made, rejected = make(task, Scripted(by_try(task, [SEEDS[0].upper(), *["something new"] * 9])))
    assert made == ["something new"]
    assert rejected[0].detail == "the same as a seed"


def test_giving_up_says_what_was_wrong(tmp_path):
    task = make_task(tmp_path, inputs={"count": 5, "max_tries": 4, "pattern": "[a-z ]+"})
    texts = ["a blue hat"] * 14 + ["NOT LOWER CASE"] * 6
    with pytest.raises(SynthError) as caught:
        make(task, Scripted(by_try(task, texts)))
    cause = caught.value.cause
    assert "Only 1 of 5 inputs after 20 tries (yield 5.0%)" in cause
    assert "13 duplicates, 6 malformed (6 does not match inputs.pattern)" in cause
    assert "'NOT LOWER CASE'" in cause
    assert "repeats itself" in caught.value.cure


def test_a_model_that_answers_nothing_is_told_early(tmp_path):
    task = make_task(tmp_path, inputs={"count": 100})
    engine = Scripted(lambda messages, seed: " ")
    with pytest.raises(SynthError, match="answers with nothing"):
        make(task, engine)
    assert len(engine.asked) < 140  # not all thousand


def test_the_second_time_the_same_tries_are_made(tmp_path):
    task = make_task(tmp_path, inputs={"count": 6, "max_tries": 20})

    def script(messages, seed):
        return f"item number {seed % 7}"

    first, second = Scripted(script), Scripted(script)
    assert make(task, first) == make(task, second)
    assert first.asked == second.asked


def test_inputs_are_read_from_jsonl_and_text(tmp_path):
    lines = '{"input": "Obs:\\n one", "id": 3}\n\n{"input": "two"}\n{"input": "TWO "}\n'
    (tmp_path / "a.jsonl").write_text(lines)
    given = read_inputs(tmp_path / "a.jsonl")
    assert given.texts == ("Obs:\n one", "two")
    assert [(d.number, d.of, d.text) for d in given.duplicates] == [(4, 3, "TWO")]
    assert [one.id for one in given.inputs] == ["3", ""]
    assert "line 4 (the same as line 3)" in given.notes[0]
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    assert read_inputs(tmp_path / "a.txt", 2).texts == ("one", "two")


def test_lines_that_are_no_inputs_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"input": "x"}\nnot json\n{"text": "x"}\n{"input": 3}\n{"input": " "}\n')
    with pytest.raises(SynthError) as caught:
        read_inputs(path)
    for words in ("4 lines", "line 2: not JSON", "line 3: no `input`", "line 4", "line 5"):
        assert words in caught.value.cause


def test_too_few_inputs_are_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\none\ntwo\n")
    with pytest.raises(SynthError, match="holds 2 distinct inputs, 1 duplicates not counted; 3"):
        read_inputs(path, 3)
    path.write_text("\n")
    with pytest.raises(SynthError, match="holds no inputs"):
        read_inputs(path)
    with pytest.raises(SynthError, match="can't be read"):
        read_inputs(tmp_path / "gone.jsonl")
