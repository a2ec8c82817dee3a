"""Values that change: picked out of the prompt that is sent, and said as in training."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genpi_plugin.data.rows import teacher_messages
from genpi_plugin.errors import TemplateError
from genpi_plugin.serving.patterns import Internalized, split
from genpi_plugin.serving.template import written
from tests.genpi_plugin.serving.test_template import ASK, CALL, rendered
from tests.tiny import CHATML

NAMES = ["name", "day"]
PROMPT = [
    {"role": "system", "content": "Greet {{ name }} first.\nIt is {{day}}; {{ name }} waits."},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "Dear {{ name }}!"},
]
KEPT = [{"role": "system", "content": "name: {{ name }}\nday: {{ day }}"}]
GOES_ON = [*PROMPT, {"role": "user", "content": "It is {{ day }}. {{ name }} asks:"}]


def filled(messages, values):
    def fill(text):
        return re.sub(r"\{\{ ?(\w+) ?\}\}", lambda found: values[found[1]], text)

    return [{**message, "content": fill(message["content"])} for message in messages]


def new_for(prompt=PROMPT, kept=KEPT, **options):
    return written(CHATML, [Internalized("p", prompt, slots=NAMES, kept=kept)], **options)


def test_a_text_is_split_at_its_slots_alone():
    text = "a {{ b }} {{c}}{{ d }}"
    assert split(text, ["b", "c"]) == (["a ", " ", "{{ d }}"], ["b", "c"])
    assert split(text, []) == ([text], [])


@pytest.mark.parametrize("prompt", [PROMPT[:1], PROMPT, GOES_ON, GOES_ON[-1:]])
@pytest.mark.parametrize("kept", [KEPT, [], [{"role": "user", "content": "{{ day }}, {{ name }}"}]])
def test_values_are_said_in_the_form_of_training(prompt, kept):
    new = new_for(prompt, kept)
    for values in (
        {"name": "Ada", "day": "Monday"},
        {"name": "Ann O'Hara\n{{ x }}", "day": "1 May"},
        {"name": "{{ day }}", "day": ""},
        {"name": "name: day", "day": "Greet"},
    ):
        request = [ASK, {"role": "assistant", "content": "Yes."}, ASK]
        sent = teacher_messages(filled(prompt, values), request)
        expected = teacher_messages(filled(kept, values), request)
        assert rendered(new, sent) == rendered(CHATML, expected)


VALUES = st.text("ab, \n.", max_size=6)


@settings(deadline=None, max_examples=300)
@given(VALUES, VALUES)
def test_values_that_can_not_be_told_are_left_in_the_prompt(name, day):
    """They are the right ones, or the whole prompt is rendered."""
    prompt = [{"role": "system", "content": "At {{ name }}, {{ day }}, in."}]
    values = {"name": name, "day": day}
    sent = [*filled(prompt, values), ASK]
    got = rendered(new_for(prompt), sent)
    said = rendered(CHATML, [*filled(KEPT, values), ASK])
    text = f"{name}, {day}"
    ways = {
        (text[:place], text[place + 2 :])
        for place in range(len(text))
        if text.startswith(", ", place)
    }
    assert got == (said if len(ways) == 1 else rendered(CHATML, sent))


def test_one_slot_has_one_value():
    sent = filled(PROMPT, {"name": "Ada", "day": "Monday"})
    sent[2]["content"] = "Dear Bob!"
    assert rendered(new_for(), [*sent, ASK]) == rendered(CHATML, [*sent, ASK])


@pytest.mark.parametrize(
    "content",
    ["Greet Ada first.\nIt is Monday; Ada waits", "It is Monday; Ada waits.", "Greet  first."],
)
def test_a_prompt_with_other_pieces_is_rendered(content):
    sent = [{"role": "system", "content": content}, ASK]
    assert rendered(new_for(PROMPT[:1]), sent) == rendered(CHATML, sent)


def test_what_is_kept_has_parts_where_the_prompt_has():
    source = CHATML.replace(
        "{{ message['content'] }}",
        "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}",
    )
    values = {"name": "Ada", "day": "Monday"}

    def in_parts(messages):
        return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]

    for kept in (KEPT, [{"role": "user", "content": "{{ day }}, {{ name }}"}]):
        new = written(source, [Internalized("p", GOES_ON, slots=NAMES, kept=kept)])
        sent = teacher_messages(filled(GOES_ON, values), [ASK])
        expected = teacher_messages(filled(kept, values), [ASK])
        assert rendered(new, in_parts(sent)) == rendered(source, in_parts(expected))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": [{"role": "system", "content": "{{ name }}{{ day }}"}]}, "side by side"),
        ({"kept": None}, "no common form"),
        ({"any_system": True}, "where any system message is left out"),
        (
            {"prompt": [*PROMPT[:2], {"role": "assistant", "content": "", "tool_calls": [{
                **CALL, "function": {"name": "x", "arguments": '{"of": "{{ name }}"}'}}]}]},
            "in the arguments of a call",
        ),
    ],
)  # fmt: skip
def test_slots_whose_values_can_not_be_picked_out_are_refused(changes, says):
    with pytest.raises(TemplateError, match=says) as error:
        new_for(**changes)
    assert "the original template" in error.value.cure
