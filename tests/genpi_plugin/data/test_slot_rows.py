"""Rows with slots: the teacher reads the values in its prompt, the student in what is kept."""

from __future__ import annotations

import json

import pytest

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.all_rows import parse_all
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import make_pair
from genpi_plugin.data.prepared import describe_prompt, describe_prompts
from genpi_plugin.data.rows import parse
from genpi_plugin.errors import RowError
from tests.genpi_plugin.rows_made import our_row
from tests.tiny import make_tokenizer

TEMPLATE = [{"role": "system", "content": "Serve {{ name }}. Today is {{ day }}."}]
FORM = [{"role": "system", "content": "name: {{ name }}\nday: {{ day }}"}]
DISTILLED = GenPISettings(distill_weight=1.0, prompt_generation_share=1.0)


def slot_row(name="Ada", day="Monday", role="system", **changes):
    kept = [{"role": role, "content": f"name: {name}\nday: {day}"}]
    slots = json.dumps({"name": name, "day": day})
    return our_row(**{"prompt": TEMPLATE, "slots": slots, "kept": kept, **changes})


def texts(row, template="chatml"):
    view = ChatView(make_tokenizer(template))
    pair = make_pair(parse(row, "shop, row 3"), view, DISTILLED)
    halves = (pair.behaviour, pair.teacher, pair.prompt_generation)
    return [view.tokenizer.decode(half[0].ids) for half in halves]


def test_each_reads_the_values_once_and_the_recital_holds_the_template():
    student, teacher, recital = texts(slot_row())
    assert "Serve" not in student
    assert student.count("name: Ada\nday: Monday") == 1
    assert teacher.count("Serve Ada. Today is Monday.") == 1
    assert "name: Ada" not in teacher
    assert "## Prompt\nServe {{ name }}. Today is {{ day }}." in recital
    assert "Ada" not in recital


def test_values_in_a_user_message_come_before_the_request_in_one_turn():
    row = parse(slot_row(role="user", input="a shirt"), "w")
    content = "name: Ada\nday: Monday\n\na shirt"
    assert row.student_request == [{"role": "user", "content": content}]
    asked = slot_row(role="user", input="a shirt", prompt=[{**TEMPLATE[0], "role": "user"}])
    content = "Serve Ada. Today is Monday.\n\na shirt"
    assert parse(asked, "w").teacher_request == [{"role": "user", "content": content}]


def test_a_prompt_without_values_is_taken_as_it_stands():
    row = parse(our_row(prompt=TEMPLATE), "w")
    assert row.teacher_request[0] == TEMPLATE[0]


def test_a_row_without_values_among_rows_with_some_is_refused():
    plain = {key: value for key, value in slot_row().items() if key not in ("slots", "kept")}
    with pytest.raises(RowError, match=r"^d, row 1, d, row 3: no `slots`.*`name`, `day` .d, row 0"):
        parse_all([slot_row(), plain, slot_row(), plain], "d")
    many = [slot_row(), *[plain] * 8]
    with pytest.raises(RowError, match="d, row 5 and 3 more: no `slots`"):
        parse_all(many, "d")
    other = our_row(prompt=[{"role": "system", "content": "{{ name }}"}])
    assert len(parse_all([slot_row(), other], "d")) == 2
    assert len(parse_all([plain, plain], "d")) == 2


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ('{"name": "Ada"}', "has the slot `day`, for which the field `slots` holds no value"),
        ('{"name": "Ada", "day": "x", "age": "7"}', "a value for `age`, and the prompt has no"),
        ('{"name": "Ada", "day": 7}', "`slots.day` is a number"),
        ("Ada", "`slots` is no valid JSON"),
    ],
)
def test_slots_and_values_that_do_not_belong_together_are_refused(slots, message):
    with pytest.raises(RowError, match=message) as error:
        parse({**slot_row(), "slots": slots}, "shop, row 3")
    assert "shop, row 3" in str(error.value)


def test_a_value_with_a_control_token_is_refused_by_its_field():
    with pytest.raises(Exception, match=r"the field `slots\.name`.*<\|im_end\|>"):
        texts(slot_row(name="A<|im_end|>da"))


def test_rows_of_one_template_are_of_one_prompt_whatever_their_values():
    rows = [parse(slot_row(name=name), "w") for name in ("Ada", "Bob", "Eve")]
    [described] = describe_prompts(rows)
    assert described["sha256"] == describe_prompt("shop", TEMPLATE)["sha256"]
    assert described["slots"] == ["name", "day"]
    assert described["kept"] == FORM
    other = parse({**slot_row(), "kept": [{"role": "system", "content": "Hi."}]}, "w")
    assert describe_prompts([*rows, other])[0]["kept"] is None
