"""Filters of the user's own, and the shipped ones by name."""

import json

import pytest

from synth.errors import SynthError, TaskError
from synth.quality.chosen import chosen_filters
from synth.quality.shipped import SHIPPED
from synth.task.config import TaskConfig
from synth.task.fields import FILTERS
from synth.task.taskfile import load_task
from tests.synth.cli.commands_run import rows_of, run_command, synth
from tests.synth.quality.test_filters import tries
from tests.synth.running.test_pipeline import make, texts
from tests.synth.scripted import Scripted, answers, stage_of, write_task
from tests.synth.server import serve

OWN = """
import synth

@synth.after("outputs")
def no_item_1(row):
    assert row.teacher_output and not row.reason
    return "is about item 1" if row.input.endswith("item 1") else None

def short(row):
    assert row.reason and row.conversation
    return "too long a talk" if row.input.endswith("item 2") else None

@synth.after("inputs")
def plain(row):
    return "shouts" if row.input.isupper() else None

def broken(row):
    return {}["a key"]

def says_true(row):
    return True

no_function = 3

@synth.after("output")
def misplaced(row):
    return None
"""


def task_with(folder, *filters, **sections):
    write_task(folder, filters=list(filters), **sections)
    (folder / "mine.py").write_text(OWN)
    return load_task(str(folder))


def test_the_shipped_filters_are_those_of_the_default():
    assert tuple(function.__name__ for function in SHIPPED) == FILTERS


def test_a_filter_of_one_s_own_rejects_where_it_can_judge(tmp_path):
    task = task_with(tmp_path, *FILTERS, "mine:no_item_1", "mine:short")
    engine = Scripted()
    store, tally = make(task, engine, given=texts(4))
    found = [(r.stage, r.position, r.reason, r.filter) for r in store.rejections()]
    assert found == [
        ("outputs", 1, "is about item 1", "mine:no_item_1"),
        ("conversations", 2, "too long a talk", "mine:short"),
    ]
    assert [row.position for row in store.rows()] == [0, 3]
    assert tally.stages["outputs"].done == 3
    assert tally.rows == tally.stages["conversations"].done == 2
    # Nothing was asked for a row that the second stage had lost.
    later = [r for r in engine.asked if stage_of(r.messages) in {"reasons", "environment"}]
    assert not any("find item 1" in str(request.messages) for request in later)


def test_a_generated_input_that_a_filter_rejects_is_tried_again(tmp_path):
    task = task_with(tmp_path, "mine:plain", inputs={"count": 1})
    made, rejected = tries(task, ["FIND ME A LAMP", *["find me a tent"] * 40])
    assert made == ["find me a tent"]
    assert [(r.reason, r.filter) for r in rejected] == [("shouts", "mine:plain")]


def test_an_input_of_one_s_own_that_a_filter_rejects_is_named_by_its_line(tmp_path):
    task = task_with(tmp_path / "t", "mine:plain")
    (tmp_path / "a.txt").write_text("one lamp\n\nTWO LAMPS\n")
    out = tmp_path / "out"
    with serve(answers, models=None) as server:
        code, printed = synth(*run_command(tmp_path / "t", out, server, "--inputs",
                                           tmp_path / "a.txt"))  # fmt: skip
    assert code == 0, printed
    assert [row["input"] for row in rows_of(out)] == ["one lamp"]
    [rejected] = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert (rejected["stage"], rejected["position"]) == ("inputs", 3)
    assert (rejected["reason"], rejected["filter"]) == ("shouts", "mine:plain")
    assert "by the filter mine:plain" in (out / "report.html").read_text()
    assert "To go on" not in synth("status", out)[1]
    assert task.config.filters == ("mine:plain",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine:broken", "The filter mine:broken failed at row 1 (input: 'find item 0'): KeyError"),
        ("mine:says_true", "The filter mine:says_true returned True at row 1"),
    ],
)
def test_a_filter_that_fails_is_named_with_the_row(tmp_path, name, words):
    with pytest.raises(SynthError) as caught:
        make(task_with(tmp_path, name), Scripted(), given=texts(1))
    assert words in caught.value.cause
    if "broken" in name:
        assert "(mine.py, line 18)" in caught.value.cause


def test_the_command_line_shows_no_traceback_of_a_filter(tmp_path):
    task_with(tmp_path / "t", "mine:broken")
    with serve(answers, models=None) as server:
        code, printed = synth(*run_command(tmp_path / "t", tmp_path / "o", server))
    assert code == 1
    assert "The filter mine:broken failed at row" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine:gone", "the module mine has no gone"),
        ("nowhere:x", "there is no module nowhere"),
        ("mine:no_function", "mine:no_function is not a function"),
        ("mine:misplaced", "judges after output, which is not a stage"),
    ],
)
def test_a_filter_that_is_not_there_is_told_at_once(tmp_path, name, words):
    task = task_with(tmp_path, name)
    with pytest.raises(TaskError, match=words):
        chosen_filters(task)
    code, printed = synth("validate", tmp_path)
    assert code == 1
    assert words in printed.replace("\n", " ")


def test_a_module_that_can_t_be_imported_is_told_with_its_line(tmp_path):
    task = task_with(tmp_path, "bad:short")
    (tmp_path / "bad.py").write_text("\n\nimport no_such_thing\n")
    with pytest.raises(TaskError, match=r"ModuleNotFoundError: .*no_such_thing.* \(bad.py, line 3"):
        chosen_filters(task)
    (tmp_path / "bad.py").write_text("def short(row)\n    return None\n")
    with pytest.raises(TaskError, match="can't be imported: SyntaxError"):
        chosen_filters(task)


def test_an_unknown_name_gets_the_list_of_known_ones(tmp_path):
    with pytest.raises(TaskError) as caught:
        task_with(tmp_path, "role_marker")
    assert "there is no such filter; known are tool_calls, role_markers" in caught.value.cause


def test_a_key_without_its_filter_is_a_contradiction():
    with pytest.raises(ValueError, match="needs `require_action` among the filters"):
        TaskConfig(name="t", action_pattern="x", outputs={"require_action": True}, filters=[])
    with pytest.raises(ValueError, match="names role_markers twice"):
        TaskConfig(name="t", filters=["role_markers", "role_markers"])


def test_a_changed_filter_is_a_change(tmp_path):
    task_with(tmp_path / "t", "mine:short")
    out = tmp_path / "out"
    with serve(answers, models=None) as server:
        assert synth(*run_command(tmp_path / "t", out, server))[0] == 0
        server.requests.clear()
        assert synth(*run_command(tmp_path / "t", out, server))[0] == 0
        (tmp_path / "t" / "mine.py").write_text(OWN.replace('"item 2"', '"find"') + "\n")
        code, printed = synth(*run_command(tmp_path / "t", out, server))
        assert code == 1
        assert "code.mine:short" in printed
        code, printed = synth(*run_command(tmp_path / "t", out, server, "--resume", "changed"))
        assert code == 0, printed
        assert not server.requests
    assert "code: `mine:short`" in (out / "README.md").read_text()
