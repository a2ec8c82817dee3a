"""`inputs.vary`: lists of which each try draws one text."""

from collections import Counter

import pytest

from synth.errors import TaskError
from synth.quality.chatter import CHATTER
from synth.stages.inputs import input_request
from synth.stages.vary import asked_for, drawn
from synth.store.fingerprint import request_key
from synth.task.sections import Inputs
from tests.synth.scripted import SEEDS, Scripted, make_task
from tests.synth.stages.test_inputs import by_try, make

LISTS = {"persona": ["a nurse", "a student", "a pilot"], "topic": ["shoes", "lamps"]}


def test_each_try_asks_for_one_of_each_list_by_its_number(tmp_path):
    task = make_task(tmp_path, inputs={"vary": LISTS})
    last = [input_request(task, 0, number).messages[-1].content for number in range(60)]
    assert last == [input_request(task, 0, number).messages[-1].content for number in range(60)]
    assert last != [input_request(task, 1, number).messages[-1].content for number in range(60)]
    pairs = Counter(tuple(turn.splitlines()[-2:]) for turn in last)
    assert set(pairs) == {
        (f"persona: {persona}", f"topic: {topic}")
        for persona in LISTS["persona"]
        for topic in LISTS["topic"]
    }
    assert max(pairs.values()) < 25
    assert all(turn.startswith("Write a new shopping request.\n\n") for turn in last)


def test_a_list_more_changes_no_other_draw():
    one = Inputs(vary={"persona": LISTS["persona"]})
    both = Inputs(vary={"topic": LISTS["topic"], "persona": LISTS["persona"]})
    for number in range(20):
        assert drawn(one, 3, number)["persona"] == drawn(both, 3, number)["persona"]


def test_without_lists_a_try_asks_what_it_asked_before(tmp_path):
    task = make_task(tmp_path, inputs={"seeds": SEEDS})
    assert asked_for(task.config.inputs, 0, 7) == "Write a new shopping request."
    # The key under which an earlier version stored the answer of this try.
    key = request_key({"model": "m"}, input_request(task, 0, 7))
    assert key == "437673f48511314084aeb568bb86df113c531e2970ee077f136fd210049cf82d"


def test_an_echo_of_what_was_asked_for_is_no_input(tmp_path):
    lists = {"persona": ["a nurse"]}
    task = make_task(tmp_path, inputs={"count": 1, "vary": lists, "seeds": SEEDS})
    texts = ["Persona: a nurse\ni need shoes", "as a nurse i need good shoes", *["short"] * 40]
    texts.insert(0, "This one fits without naming it: shoes")
    made, rejected = make(task, Scripted(by_try(task, texts)))
    assert made == texts[2:3]
    assert [one.reason for one in rejected[:2]] == [CHATTER] * 2
    # Unless the application's inputs have such lines themselves.
    own = [*SEEDS, "persona: a cook\ni need a pan"]
    task = make_task(tmp_path / "own", inputs={"count": 1, "vary": lists, "seeds": own})
    assert make(task, Scripted(by_try(task, texts)))[0] == texts[1:2]


@pytest.mark.parametrize("vary", [{"persona": []}, {"1": ["x"]}, {"persona": "a nurse"}])
def test_a_list_without_texts_or_name_is_refused(tmp_path, vary):
    with pytest.raises(TaskError, match=r"inputs\.vary"):
        make_task(tmp_path, inputs={"vary": vary})
