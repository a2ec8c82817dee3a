"""Patterns of actions and ends, from example answers."""

import re

import pytest

from synth.drafting.actions import action_pattern_of, end_pattern_of
from synth.drafting.examples import examples_in
from synth.quality.actions import actions
from synth.task.taskfile import load_task

FORMS = {
    "brackets": (
        ["Thought: I search.\nAction: search[a lamp]", "Thought: I buy.\nAction:\nclick[Buy Now]"],
        ["search[a lamp]", "click[Buy Now]"],
        "Thought: hm.\nAction: scroll[down]",
    ),
    "tag": (
        ["I look it up. <call>find(3)</call>", "<call>\nend\n</call>"],
        ["find(3)", "end"],
        "I have <b>no</b> call.",
    ),
    "json": (
        ['{"action": "find", "id": 3}', '{"action": "end"}'],
        ['{"action": "find", "id": 3}', '{"action": "end"}'],
        "find",
    ),
    "label": (
        ["Think: x\n\nAct: bash\n\n```bash\nls\n```", "Think: y\n\nAct: answer(220)"],
        ["bash ```bash ls ```", "answer(220)"],
        "Think: I am done.",
    ),
    "call": (["I look.\nfind(3)", "done(now)"], ["find(3)", "done(now)"], "I find (3)."),
    "few words": (["positive", " negative\n"], ["positive", "negative"], "It is\nboth."),
}
INSTRUCTION = (
    "Use search[words] or click[value]. Act: one of bash, answer(...), positive, negative."
)


@pytest.mark.parametrize("form", FORMS)
def test_the_pattern_finds_the_actions_and_nothing_else(form):
    answers, expected, other = FORMS[form]
    pattern = action_pattern_of(answers, INSTRUCTION)
    assert [one for answer in answers for one in actions(answer, pattern)] == expected
    assert not re.search(pattern, other)
    assert "action" in re.compile(pattern).groupindex


@pytest.mark.parametrize(
    "answers",
    [
        [],
        ["Your order is on its way.", "I am sorry to hear that. Which one is it?"],
        ["search[a lamp]", "I am done."],  # one without an action
        ["positive"],  # a single word may be anything
        ["two words", "three words here"],  # and so may words that the prompt does not name
        ["Note: it is late.", "Note: it is early."],  # a label that the prompt does not name
    ],
)
def test_without_a_form_in_common_there_is_no_pattern(answers):
    assert action_pattern_of(answers, INSTRUCTION) is None


def test_a_form_that_inputs_have_as_well_is_none():
    assert action_pattern_of(["search[a]", "search[b]"], "", ["find search[c]"]) is None


def test_the_end_is_what_the_last_answer_alone_does():
    answers, _, _ = FORMS["brackets"]
    pattern = action_pattern_of(answers, "")
    end = end_pattern_of([*answers[:1], "Action: click[red]", answers[1]], pattern)
    assert re.search(end, "Action:\nclick[Buy Now]")
    assert not re.search(end, "Action: click[red]")
    answers, _, _ = FORMS["label"]
    end = end_pattern_of(answers, action_pattern_of(answers, INSTRUCTION))
    assert re.search(end, "Act: answer(7)")
    assert not re.search(end, "Act: bash")
    # In the middle of an example that stops, or done before, nothing ends.
    assert end_pattern_of(["Action: search[x]", "Action: click[teal]"], pattern) is None
    assert end_pattern_of(["Action: click[Buy Now]"] * 2, pattern) is None
    assert end_pattern_of(["Action: click[Buy Now]"], pattern) is None


@pytest.mark.parametrize("name", ["webshop", "os", "demo"])
def test_the_shipped_tasks_answers_have_the_actions_of_their_patterns(name):
    task = load_task(name)
    found = examples_in(task.prompt)
    pattern = action_pattern_of(found.answers, task.prompt[0].content, found.inputs)
    for answer in found.answers:
        [drafted], [written] = (
            actions(answer, one) for one in (pattern, task.config.action_pattern)
        )
        assert drafted == written.removeprefix("Act: ")
