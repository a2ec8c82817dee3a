"""Rows with values of their own: who reads them where, and what a run that goes on draws."""

from __future__ import annotations

import asyncio
import json

import pytest

from genpi_plugin.data.rows import parse
from synth.dataset.summary import remarks, summarize
from synth.engines.base import Answer
from synth.errors import SynthError
from synth.progress.progress import Tally
from synth.running.models import Models
from synth.running.pipeline import synthesize
from synth.store.rows import to_record
from synth.store.store import Store
from synth.task.given import read_inputs
from tests.synth.scripted import Scripted, make_task, shop

PROMPT = "You are a shop agent. Answer {{ name }} with one action: search[words]. It is {{ day }}."
SLOTS = {"name": ["Ada", "Bob"], "day": ["Monday", "Friday"]}


def script(messages, seed=0):
    first = messages[0].content
    if first.startswith("You make up values"):
        return f"name {seed % 7}"
    if first.startswith("You are a shop agent."):
        return f"search[{first.split()[6]} {messages[-1].content[-12:]}]"
    return shop(messages, seed)


def run(task, target=None, generator=None, store=None, given=None):
    store = store or Store(":memory:")
    tally = Tally(task.config.inputs.count)
    models = Models(target or Scripted(script), generator or Scripted(script, "large"))
    asyncio.run(synthesize(task, models, store, tally, 0, given))
    return store, list(store.rows())


@pytest.mark.parametrize("role", ["system", "user"])
def test_teacher_reads_the_values_in_its_prompt_and_the_floor_what_is_kept(tmp_path, role):
    target, generator = Scripted(script), Scripted(script, "large")
    task = make_task(tmp_path, PROMPT, slots=SLOTS, prompt_role=role, inputs={"count": 12})
    store, rows = run(task, target, generator)
    assert {row.prompt[0].content for row in rows} == {PROMPT}
    names = {json.loads(row.slots)["name"] for row in rows}
    assert names == {"Ada", "Bob"}
    sent = [request.messages for request in target.asked]
    for row in rows:
        values = json.loads(row.slots)
        filled = PROMPT.replace("{{ name }}", values["name"]).replace("{{ day }}", values["day"])
        told = f"name: {values['name']}\nday: {values['day']}"
        assert [(one.role, one.content) for one in row.kept] == [(role, told)]
        assert row.teacher_output.startswith(f"search[{values['name']} ")
        record = {**to_record(row), "token_ids": None, "tokenizer": None}
        parsed = parse(record, "row")
        teacher, student = (
            [(one["role"], one["content"]) for one in messages]
            for messages in (parsed.teacher_request, parsed.student_request)
        )
        asked = [[(one.role, one.content) for one in messages] for messages in sent]
        assert teacher in asked
        assert student in asked
        assert teacher[0][1].startswith(filled)
        assert told not in teacher[0][1]
        assert student[0][1].startswith(told)
        assert len(student) == (1 if role == "user" else 2)
        shown = [r.messages[-1].content for r in generator.asked
                 if row.reason and r.messages[-1].content.find(row.input) > 0]  # fmt: skip
        assert any(filled in text for text in shown)
    everything = " ".join(turn.content for messages in sent for turn in messages)
    assert "{{" not in everything
    lines = remarks(summarize(task.config, store, {}, {}))
    counts = {name: sum(name in row.slots for row in rows) for name in ("Ada", "Bob")}
    [line] = [line for line in lines if line.startswith("Slot name: 2 values in 12 rows (")]
    assert all(f"{name} {count}" in line for name, count in counts.items())


def test_the_generator_of_inputs_reads_one_draw(tmp_path):
    generator = Scripted(script, "large")
    run(make_task(tmp_path, PROMPT, slots=SLOTS), None, generator)
    asked = {r.messages[0].content for r in generator.asked
             if r.messages[0].content.startswith("Below")}  # fmt: skip
    assert len(asked) == 1
    assert "{{" not in asked.pop()


def test_values_stay_when_a_run_goes_on_with_more_rows(tmp_path):
    store, few = run(make_task(tmp_path / "few", PROMPT, slots=SLOTS))
    more = make_task(tmp_path / "more", PROMPT, slots=SLOTS, inputs={"count": 9})
    _, many = run(more, store=store)
    before = {row.id: (row.slots, row.kept, row.teacher_output) for row in few}
    assert len(many) == 9
    assert {row.id: (row.slots, row.kept, row.teacher_output) for row in many if row.id in before} \
        == before  # fmt: skip


def test_values_that_the_generator_writes_are_distinct_and_asked_once(tmp_path):
    sources = {"name": {"generator": "Write a name.", "count": 5}, "day": ["Monday"]}
    generator = Scripted(script, "large")
    task = make_task(tmp_path, PROMPT, slots=sources, inputs={"count": 30})
    store, rows = run(task, None, generator)
    names = {json.loads(row.slots)["name"] for row in rows}
    assert names <= {f"name {number}" for number in range(7)}
    assert len(names) == 5
    asked = sum(r.messages[0].content.startswith("You make up values") for r in generator.asked)
    again = Scripted(script, "large")
    _, same = run(task, None, again, store)
    assert [row.slots for row in same] == [row.slots for row in rows]
    assert not again.asked
    assert 5 <= asked <= 50


def test_a_generator_that_writes_no_value_stops_the_run_and_says_what_it_wrote(tmp_path):
    def chatty(messages, seed=0):
        if messages[0].content.startswith("You make up values"):
            return "Sure!\nHere is a name"
        return script(messages, seed)

    sources = {"name": {"generator": "Write a name.", "count": 2}, "day": ["Monday"]}
    task = make_task(tmp_path, PROMPT, slots=sources)
    with pytest.raises(SynthError, match=r"slots.name.*no value in 20 tries.*Sure!\\nHere"):
        run(task, None, Scripted(chatty, "large"))


def test_a_generator_that_thinks_has_the_room_of_inputs_and_is_told_where_it_is_too_little(
    tmp_path,
):
    def thinking(messages, seed=0):
        if messages[0].content.startswith("You make up values"):
            return Answer("", "length", reasoning="Well, a name")
        return script(messages, seed)

    sources = {"name": {"generator": "Write a name."}, "day": ["Monday"]}
    task = make_task(tmp_path, PROMPT, slots=sources, inputs={"max_tokens": 300})
    generator = Scripted(thinking, "large")
    with pytest.raises(
        SynthError, match=r"slots.name`: the generator's 40 tries.*all cut off.*max_tokens` \(300\)"
    ) as error:
        run(task, None, generator)
    assert "thinks needs more `inputs.max_tokens`" in str(error.value)
    assert "Well, a name" in str(error.value)
    assert len(generator.asked) == 40
    assert {request.sampling.max_tokens for request in generator.asked} == {300}


def test_the_environment_s_part_may_name_values(tmp_path):
    generator = Scripted(script, "large")
    part = {"environment": "a customer called {{ name }}", "reminder": "You are {{ name }}."}
    run(make_task(tmp_path, PROMPT, slots=SLOTS, conversations=part), None, generator)
    played = [r.messages for r in generator.asked if r.messages[0].content.startswith("Play a")]
    assert played
    for messages in played:
        name = "Ada" if "called Ada" in messages[0].content else "Bob"
        assert f"Your part: a customer called {name}." in messages[0].content
        assert messages[-1].content.endswith(f"You are {name}.")


def test_quotes_around_a_written_value_are_none_of_it():
    from synth.stages.slots import _value

    texts = ['"Ada"', "Ada", "“Ada”", '"', "", "x" * 201, "a\nb"]
    found = [_value(Answer(text, "stop")) for text in texts]
    assert found == ["Ada", "Ada", "Ada", '"', "", "", ""]
    assert _value(Answer("Ada", "length")) == ""


def test_values_out_of_a_log_are_the_row_s_and_what_it_does_not_tell_is_drawn(tmp_path):
    filled = PROMPT.replace("{{ name }}", "Zoe").replace("{{ day }}", "Sunday")
    lamp = {"role": "user", "content": "a lamp"}
    lines = [
        {"messages": [{"role": "system", "content": filled}, lamp]},
        {"input": "a red hat", "slots": {"name": "Uwe"}},
        {"input": "a blue hat"},
        {"messages": [{"role": "system", "content": filled.replace("Zoe", "Ina")}, lamp]},
    ]
    path = tmp_path / "logs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = make_task(tmp_path / "task", PROMPT, slots=SLOTS, inputs={"count": 4})
    given = read_inputs(path, None, None, task)
    target = Scripted(script)
    _, rows = run(task, target, given=given)
    values = [json.loads(row.slots) for row in rows]
    assert [one["name"] for one in values][:2] == ["Zoe", "Uwe"]
    assert values[0]["day"] == "Sunday"
    assert values[1]["day"] in SLOTS["day"]
    assert values[2]["name"] in SLOTS["name"]
    assert values[3]["name"] == "Ina"
    assert len({row.id for row in rows}) == 4  # one request with two people's values is two rows
    assert all(
        f"name: {one['name']}" in row.kept[0].content for one, row in zip(values, rows, strict=True)
    )
    path.write_text(json.dumps(lines[0]).replace("with one action", "with two actions"))
    with pytest.raises(SynthError, match="do not have the task's prompt"):
        read_inputs(path, None, None, task)
