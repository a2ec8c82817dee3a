"""Slots of a prompt: names, filling, finding values, and the form in which requests say them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genpi_plugin.data.kept import default_form, form_of, unseen
from genpi_plugin.data.slots import fill, fill_messages, names_in, names_of, parse_values, values_in
from genpi_plugin.errors import RowError

LETTER = "Serve {{ name }} ({{city}}). Today is {{  day }}; greet {{ name }}."
VALUES = {"name": "Ada", "city": "Bern", "day": "Monday"}
KEPT = [{"role": "system", "content": "name: Ada\ncity: Bern\nday: Monday"}]


def test_names_in_their_order_and_once_each():
    assert names_in(LETTER) == ["name", "city", "day"]
    assert names_in("{name} {{ }} {{ 1st }} {% x %} {{ a|upper }} {{ a.b }}") == ["a.b"]


def test_only_slots_with_a_value_are_filled_and_values_are_left_as_they_are():
    assert fill(LETTER, VALUES) == "Serve Ada (Bern). Today is Monday; greet Ada."
    assert fill("{{ a }}{{ b }}", {"a": "{{ b }}\\1"}) == "{{ b }}\\1{{ b }}"


def test_slots_in_the_arguments_of_calls_are_filled_as_json():
    call = {"id": "1", "type": "function"}
    given = {"name": "find", "arguments": json.dumps({"who": ["{{ name }}"], "n": 1})}
    message = {"role": "assistant", "content": "", "reasoning_content": "for {{ name }}",
               "tool_calls": [{**call, "function": given}]}  # fmt: skip
    assert names_of([message]) == ["name"]
    [filled] = fill_messages([message], {"name": 'A "quoted" name'})
    arguments = json.loads(filled["tool_calls"][0]["function"]["arguments"])
    assert arguments == {"who": ['A "quoted" name'], "n": 1}
    assert filled["reasoning_content"] == 'for A "quoted" name'
    assert names_of([message]) == ["name"]  # the template is unchanged


def test_values_are_found_in_what_they_filled():
    assert values_in(LETTER, fill(LETTER, VALUES)) == VALUES
    assert values_in("plain", "plain") == {}
    assert values_in("{{ a }}", "") == {"a": ""}
    for other in ("Serve Ada.", fill(LETTER, VALUES) + "x", "", "x" + fill(LETTER, VALUES)):
        assert values_in(LETTER, other) is None


def test_values_that_can_not_be_told_are_not_guessed():
    assert values_in("{{ a }}{{ b }}", "xy") is None
    assert values_in("{{ a }}, {{ b }}", "x, y, z") is None
    assert values_in("{{ a }}, {{ b }}; {{ a }}", "x, y, z; x, y") == {"a": "x, y", "b": "z"}
    assert values_in("{{ a }} or {{ a }}", "x or y") is None
    assert values_in("{{ a }}-{{ b }}-{{ a }}-{{ b }}-", "-" * 5000) is None  # in no time


@given(st.lists(st.text(alphabet="ab ,.", max_size=6), min_size=3, max_size=3))
def test_found_values_give_the_text(values):
    template = "<{{ a }}, {{ b }}> {{ a }}. {{ c }}"
    text = fill(template, dict(zip("abc", values, strict=True)))
    found = values_in(template, text)
    assert found is None or fill(template, found) == text


def test_values_are_read_from_json_or_a_mapping():
    assert parse_values('{"name": "Ada"}', "slots", "w") == {"name": "Ada"}
    assert parse_values({"name": "Ada", "padding": None}, "slots", "w") == {"name": "Ada"}
    assert parse_values('{"name": ""}', "slots", "w") == {"name": ""}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[1]", "is a list, not an object of values"),
        ("{", "no valid JSON"),
        ('{"age": 7}', "`slots.age` is a number, not text"),
        ('{"name": null}', "`slots.name` is nothing, not text"),
        ('{"a name": "x"}', "'a name', which is no slot's name"),
    ],
)
def test_other_values_are_refused_by_name(value, message):
    with pytest.raises(RowError, match=message):
        parse_values(value, "slots", "shop, row 3")


def test_the_form_of_what_is_kept_is_found():
    assert default_form(VALUES) == [
        {"role": "system", "content": "name: {{ name }}\ncity: {{ city }}\nday: {{ day }}"}
    ]
    assert form_of([(KEPT, VALUES)]) == default_form(VALUES)
    rows = [
        ([{"role": "user", "content": f"I am {a} from {b}."}], {"name": a, "city": b})
        for a, b in (("I", "Bern"), ("Paris", "Paris"), ("Ada", "Rome"))
    ]
    form = [{"role": "user", "content": "I am {{ name }} from {{ city }}."}]
    assert form_of(rows) == form
    rows.append(([{"role": "user", "content": "It's Bob."}], {"name": "Bob", "city": "Bern"}))
    assert form_of(rows) is None


def test_values_that_no_message_holds_are_named():
    assert unseen(KEPT, VALUES) == []
    assert unseen(KEPT, {"name": "Ada", "day": "Sunday"}) == ["day"]
