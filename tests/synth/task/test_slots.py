"""Where slots' values come from: every source, what is drawn, and what is refused."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import pytest
import yaml

from synth.engines.messages import as_messages
from synth.errors import SynthError, TaskError
from synth.preflight.measure import from_first_slot
from synth.task.config import TaskConfig
from synth.task.placeholders import placeholder_notes
from synth.task.slots import before_first_slot, texts_of
from synth.task.taskfile import load_task
from tests.synth.cli.commands_run import synth
from tests.synth.scripted import make_task, write_task

PROMPT = "Serve {{ name }} of {{ city }}. Today is {{ day }}. They have {{ points }} points."
SOURCES = {
    "name": ["Ada", "Bob", "Cy"],
    "city": ["Bern", "Rome"],
    "day": {"now": {"from": datetime.date(2024, 1, 1), "to": "2024-01-03", "format": "%A"}},
    "points": {"number": {"from": 1000, "to": 2000, "format": "{:,}"}},
}


def with_slots(folder, prompt=PROMPT, **changes):
    return make_task(folder, prompt, **{"slots": SOURCES, **changes})


def test_a_row_s_values_depend_on_its_id_and_the_seed_alone(tmp_path):
    slots = with_slots(tmp_path).slots
    ids = [f"row-{number}" for number in range(200)]
    drawn = {row_id: slots.draw(0, row_id) for row_id in ids}
    assert {row_id: slots.draw(0, row_id) for row_id in reversed(ids)} == drawn
    assert {row_id: slots.draw(1, row_id) for row_id in ids} != drawn
    found = {name: {one[name] for one in drawn.values()} for name in SOURCES}
    assert found["name"] == {"Ada", "Bob", "Cy"}
    assert found["day"] == {"Monday", "Tuesday", "Wednesday"}
    assert all(1000 <= int(one.replace(",", "")) <= 2000 and "," in one for one in found["points"])
    pairs = {(one["name"], one["city"]) for one in drawn.values()}
    assert len(pairs) == 6  # lists are drawn apart


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("people.csv", 'name,city\n"Ada, Countess",Bern\n"Bob\n(jr.)",Rome\n'),
        ("people.tsv", "name\tcity\nAda, Countess\tBern\n\"Bob\n(jr.)\"\tRome\n"),
        ("people.json", json.dumps([{"name": "Ada, Countess", "city": "Bern"},
                                    {"name": "Bob\n(jr.)", "city": "Rome"}])),
        ("people.jsonl", '{"name": "Ada, Countess", "city": "Bern"}\n\n'
                         '{"name": "Bob\\n(jr.)", "city": "Rome"}\n'),
    ],
)  # fmt: skip
def test_slots_of_one_file_take_the_same_line(tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8-sig")
    sources = {name: {"file": file, "column": name} for name in ("name", "city")}
    slots = make_task(tmp_path, "{{ name }} in {{ city }}", slots=sources).slots
    drawn = [slots.draw(0, f"row-{number}") for number in range(40)]
    assert {(one["name"], one["city"]) for one in drawn} == {
        ("Ada, Countess", "Bern"), ("Bob\n(jr.)", "Rome"),
    }  # fmt: skip


def test_a_text_file_has_a_value_a_line(tmp_path):
    (tmp_path / "names.txt").write_text("Ada\n\nBob \n")
    slots = make_task(tmp_path, "{{ name }}", slots={"name": {"file": "names.txt"}}).slots
    assert slots.lines["name"] == ("Ada", "Bob")


def test_a_file_named_in_two_ways_is_one(tmp_path):
    people = [{"name": f"n{number}", "city": f"c{number}"} for number in range(20)]
    (tmp_path / "a.json").write_text(json.dumps(people))

    def drawn(first, second):
        sources = {
            "name": {"file": first, "column": "name"},
            "city": {"file": second, "column": "city"},
        }
        slots = make_task(tmp_path, "{{ name }} in {{ city }}", slots=sources).slots
        return [slots.draw(0, f"row-{number}") for number in range(40)]

    same = drawn("a.json", "a.json")
    assert drawn("a.json", "./a.json") == drawn("a.json", str(tmp_path / "a.json")) == same
    assert {(one["name"][1:] == one["city"][1:]) for one in same} == {True}
    assert same[0] == {"name": "n3", "city": "c3"}  # what runs drew before stays


def test_a_line_ends_at_a_line_break_alone(tmp_path):
    odd = "Ada\u2028Countess\x85of L"
    (tmp_path / "a.csv").write_text(f"x\n{odd}\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text(f"{odd}\r\nBob\n", encoding="utf-8")

    def values(**source):
        return make_task(tmp_path, "{{ x }}", slots={"x": source}).slots.lines["x"]

    assert values(file="a.csv", column="x") == (odd,)
    assert values(file="a.txt") == (odd, "Bob")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.csv", "x,y\nAda,1\nBob,2,3\n", "a.csv, row 2 has 3 cells, and the header names 2"),
        ("a.csv", "x,y\nAda\n", "a.csv, row 1 has 1 cells"),
        ("a.csv", "x,x\nAda,1\n", "has two columns named x"),
        ("a.csv", "x,y\nAda,1\n ,2\n", "a.csv, row 2: `x` is empty"),
        ("a.csv", 'x,y\n"Ada,1\n', "a.csv can't be read as a table[^\n]*\nA cell with a quote"),
        ("a.csv", "x;y\nAda;1\n", "are there semicolons between"),
        ("a.csv", "", "a.csv holds no values"),
        ("a.jsonl", '{"x": "a"}\n\n{"x": \n', "a.jsonl, line 3: not JSON"),
        ("a.jsonl", '{"x": "a"}\n{"y": "b"}\n', r"a.jsonl, line 2 has no 'x' \(it has y\)"),
        ("a.jsonl", '"x"\n', "a.jsonl, line 1: 'x' is no object"),
        ("a.json", '[{"x": 1,]', "a.json can't be read: line 1 is not JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_refused_where_it_is_not(tmp_path, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(TaskError, match=message) as error:
        make_task(tmp_path, "{{ x }}", slots={"x": {"file": file, "column": "x"}})
    assert "slots.x" in str(error.value)
    assert "--" not in str(error.value)
    assert "inputs" not in str(error.value)


def test_a_function_of_the_user_s_own_sees_the_input(tmp_path):
    (tmp_path / "own.py").write_text(
        "def size(draw, text): return f'{len(text)}-{draw.randint(1, 9)}'\n"
        "def bad(draw, text): return 7\n"
        "def broken(draw, text): raise ValueError('no luck')\n"
    )

    def slots(name):
        source = {"size": {"python": f"own:{name}"}}
        return make_task(tmp_path, "Size {{ size }}", slots=source).slots

    assert slots("size").draw(0, "a", "four")["size"].startswith("4-")
    assert slots("size").draw(0, "a", "four") == slots("size").draw(0, "a", "four")
    with pytest.raises(SynthError, match=r"slots.size.*own:bad gave 7, which is no text"):
        slots("bad").draw(0, "a", "four")
    with pytest.raises(SynthError, match="own:broken failed: ValueError: no luck"):
        slots("broken").draw(0, "a", "four")


def test_a_time_keeps_to_its_span(tmp_path):
    now = {"from": "2024-05-15T14:59:58", "to": "2024-05-15T15:00:00", "format": "%H:%M:%S"}
    slots = make_task(tmp_path, "{{ time }}", slots={"time": {"now": now}}).slots
    found = {slots.draw(0, str(number))["time"] for number in range(60)}
    assert found == {"14:59:58", "14:59:59", "15:00:00"}


@pytest.mark.parametrize(
    ("prompt", "changes", "message"),
    [
        ("{{ name }} {{ age }}", {"slots": {"name": ["A"]}}, r"prompt has {{ age }}, and `slots`"),
        ("{{ name }}", {"slots": {"name": ["A"], "x": ["B"]}}, r"`slots` has x, and the prompt"),
        ("{{ name }}", {"slots": {"name": []}}, r"`slots.name"),
        ("{{ name }}", {"slots": {"name": [7]}}, r"`slots.name.*7"),
        ("{{ name }}", {"slots": {"name": {}}}, r"give one of values, file, python"),
        ("{{ name }}", {"slots": {"name": {"file": "none.txt"}}}, r"none.txt can't be read"),
        ("{{ name }}", {"slots": {"name": {"file": "a.csv"}}}, r"`column` goes with a `file`"),
        ("{{ name }}", {"slots": {"name": {"file": "a.csv", "column": "x"}}},
         r"no column 'x'; its columns are name, n.\nCorrect `column`"),
        ("{{ name }}", {"slots": {"name": {"file": "a.json", "column": "n"}}},
         r"a.json, item 2: 'n' is not text but 7"),
        ("{{ name }}", {"slots": {"name": {"file": "a.pdf", "column": "n"}}}, r".pdf is not read"),
        ("{{ name }}", {"slots": {"name": {"python": "nowhere:x"}}}, r"no module nowhere"),
        ("{{ name }}", {"slots": {"name": {"now": {"from": "2024-02-01", "to": "2024-01-01"}}}},
         r"`from` is later than `to`"),
        ("{{ name }}", {"slots": {"name": {"now": {"from": "soon", "to": "2024-01-01"}}}},
         r"not a day"),
        ("{{ name }}", {"slots": {"name": {"number": {"from": 1, "to": 2, "format": "x"}}}},
         r"no place for the number"),
        ("{{ name }}", {"slots": {"a name": ["A"]}}, r"`slots.a name"),
        ("{{ name }}", {"slots": {"name": ["A"]}, "kept": {"text": "Hi"}},
         r"does not say {{ name }}: the student could not know it"),
        ("{{ name }}", {"slots": {"name": ["A"]}, "kept": {"text": "{{ name }} {{ b }}"}},
         r"`kept.text` has {{ b }}, and `slots` has no such name"),
        ("plain", {"kept": {"text": "Hi"}}, r"there are no `slots`"),
    ],
)  # fmt: skip
def test_what_can_not_be_filled_is_refused_and_named(tmp_path, prompt, changes, message):
    (tmp_path / "a.csv").write_text("name,n\nAda,1\n")
    (tmp_path / "a.json").write_text('[{"n": "1"}, {"n": 7}]')
    (tmp_path / "a.pdf").write_text("")
    with pytest.raises(TaskError, match=message) as error:
        make_task(tmp_path, prompt, **changes)
    assert "task.yml" in str(error.value) or "slots.name" in str(error.value)


def test_what_is_kept_has_a_form_and_a_role(tmp_path):
    kept = with_slots(tmp_path / "a").slots.kept
    assert (kept.role, kept.content.split("\n")[0]) == ("system", "name: {{ name }}")
    kept = with_slots(tmp_path / "b", prompt_role="user").slots.kept
    assert kept.role == "user"
    own = {"text": "For {{name}}, {{city}}, {{day}}, {{points}}", "role": "user"}
    kept = with_slots(tmp_path / "c", kept=own).slots.kept
    assert (kept.role, kept.content) == ("user", own["text"])


def test_validate_shows_slots_and_names_other_places(tmp_path):
    task = write_task(tmp_path, PROMPT + " Sign as {agent} or <AGENT NAME>.", slots=SOURCES)
    code, printed = synth("validate", task)
    assert code == 0, printed
    assert "Slot name: values of 3, such as" in printed
    assert "Slot day: now, such as" in printed
    assert "The first slot stands behind 6 of the prompt's" in printed
    assert "The student is told (system): 'name: {{ name }}" in printed
    assert "place for a value: {agent}, <AGENT NAME>." in printed
    write_task(tmp_path, PROMPT, slots={})
    code, printed = synth("validate", task)
    assert "place for a value: {{ name }}, {{ city }}, {{ day }}, {{ points }}." in printed
    assert "say in `slots` where its values come from" in printed


def test_a_run_s_record_of_every_kind_of_source_is_read_again(tmp_path):
    for name, text in {"a.csv": "x\nAda\n", "a.txt": "Ada\n"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "own.py").write_text("def one(draw, text): return 'a'\n")
    sources = {
        "values": ["Ada"],
        "table": {"file": "a.csv", "column": "x"},
        "lines": {"file": "a.txt"},
        "python": {"python": "own:one"},
        "generator": {"generator": "Write a name."},
        "more": {"generator": "Write a name.", "count": 7},
        "day": {"now": {"from": "2024-01-01", "to": datetime.date(2024, 1, 3)}},
        "time": {"now": {"from": "2024-05-15T14:59:58+02:00", "to": "2024-05-15T15:00:00Z"}},
        "number": {"number": {"from": 1, "to": 2.5, "format": "{:.1f}"}},
    }
    prompt = " ".join(f"{{{{ {name} }}}}" for name in sources)
    config = make_task(tmp_path, prompt, slots=sources, kept={"role": "user"}).config
    recorded = config.model_dump(mode="json")
    assert TaskConfig.of_run(json.loads(json.dumps(recorded))) == config
    assert [config.slots[name].count for name in ("generator", "more")] == [100, 7]
    for name in recorded["slots"]:  # as it was recorded at first
        recorded["slots"][name]["count"] = recorded["slots"][name]["count"] or 100
    assert TaskConfig.of_run(recorded) == config
    with pytest.raises(TaskError, match="`count` goes with `generator`"):
        make_task(tmp_path, "{{ x }}", slots={"x": {"file": "a.txt", "count": 3}})


def shown_with_calls():
    """A prompt whose slots stand in a few-shot turn's thoughts and its call, too."""
    arguments = '{"who": "{{ who }}", "in": "{when}"}'
    call = {"id": "a", "type": "function", "function": {"name": "find", "arguments": arguments}}
    return [
        {"role": "system", "content": "Serve people."},
        {"role": "user", "content": "find me"},
        {"role": "assistant", "content": "", "reasoning_content": "They are in {{ place }}.",
         "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "found"},
        {"role": "assistant", "content": "Here you are."},
    ]  # fmt: skip


def test_slots_in_thoughts_and_calls_have_sources_too(tmp_path):
    tool = {"type": "function", "function": {
        "name": "find", "description": "Find by {{ who }}.",
        "parameters": {"type": "object", "properties": {"who": {"type": "string"}}}}}  # fmt: skip
    (tmp_path / "tools.json").write_text(json.dumps([tool]))
    (tmp_path / "prompt.json").write_text(json.dumps(shown_with_calls()))
    write_task(tmp_path, tools="tools.json", action_pattern=None)

    def task_with(slots):
        data = yaml.safe_load((tmp_path / "task.yml").read_text())
        data |= {"prompt": "prompt.json", "slots": slots}
        (tmp_path / "task.yml").write_text(yaml.safe_dump(data))
        return load_task(str(tmp_path))

    with pytest.raises(TaskError, match=r"prompt has \{\{ who \}\}, and `slots`"):
        task_with({"place": ["Bern"]})
    task = task_with({"place": ["Bern"], "who": ["Ada"]})
    assert task.slots.names == ["place", "who"]
    assert before_first_slot(texts_of(task.prompt)) == len("Serve people.find meThey are in ")
    in_prompt, in_tools = placeholder_notes(task)
    assert "prompt has what looks like a place for a value: {when}." in in_prompt
    assert "tools have what looks like a place for a value: {{ who }}." in in_tools
    code, printed = synth("validate", tmp_path)
    assert code == 0, printed
    assert "The first slot stands behind 32 of the prompt's" in printed
    assert in_tools in printed


def test_a_prompt_from_its_first_slot_on_wherever_that_stands():
    prompt = as_messages(shown_with_calls())
    rest = from_first_slot(prompt)
    assert (rest[0].reasoning_content, rest[0].tool_calls) == (
        "{{ place }}.", prompt[2].tool_calls
    )  # fmt: skip
    assert rest[1:] == prompt[3:]
    bare = replace(prompt[2], reasoning_content="They are in Bern.", content="So:")
    rest = from_first_slot([*prompt[:2], bare, *prompt[3:]])
    assert (rest[0].reasoning_content, rest[0].content) == ("", "")
    assert rest[0].tool_calls == prompt[2].tool_calls
    rest = from_first_slot([replace(bare, content="So: {{ a }}")])
    assert (rest[0].reasoning_content, rest[0].content) == ("", "{{ a }}")
    assert from_first_slot(prompt[:2]) is None


@pytest.mark.parametrize("source", ["[1, 2]", "{values: [1, 2]}"])
def test_values_that_yaml_takes_for_numbers_are_to_be_quoted_and_that_is_all(tmp_path, source):
    write_task(tmp_path, "{{ x }}")
    with (tmp_path / "task.yml").open("a") as file:
        file.write(f"slots:\n  x: {source}\n")
    with pytest.raises(TaskError, match=r"is not text: YAML reads .* as a number") as error:
        load_task(str(tmp_path))
    first, second, cure = str(error.value).split("\n")
    assert first.endswith("Quote it: '1'")
    assert second.endswith("Quote it: '2'")
    assert "docs/tasks.md" in cure
    with pytest.raises(TaskError, match="at least 1 item"):
        make_task(tmp_path, "{{ x }}", slots={"x": []})
