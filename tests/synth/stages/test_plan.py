"""Stages of the user's own, and the order that follows from what stages need and make."""

import pytest

from synth.dataset.summary import summarize
from synth.engines.base import Answer
from synth.errors import SynthError, TaskError
from synth.stages.plan import plan_of
from synth.stages.share import in_share
from synth.task.taskfile import load_task
from tests.synth.cli.commands_run import rows_of, run_command, synth
from tests.synth.quality.test_filters import tries
from tests.synth.running.test_pipeline import make, texts, with_fault
from tests.synth.scripted import Scripted, answers, make_task, shop, write_task
from tests.synth.server import serve

OWN = """
from dataclasses import replace
import synth
from synth.engines.base import Message, Request, Sampling

@synth.stage(needs=["reason"], makes=["reason"])
async def shorter(row, ask):
    question = (Message("user", f"Say it shorter: {row.reason}"),)
    answer = await ask.generator(Request(question, Sampling(max_tokens=20), ask.seed))
    return replace(row, reason=f"In short: {answer.text}")

@synth.stage(needs=["input", "teacher_output"])
async def judged(row, ask):
    if row.input.endswith("item 1"):
        raise synth.RowError("is not worth it", "says the judge")
    return row

class Fixed:
    name, needs, makes = "Fixed", (), ("reason",)
    async def __call__(self, row, ask):
        return replace(row, reason="The prompt makes it so, in every row.")

@synth.stage(makes=["reason"])
async def broken(row, ask):
    return replace(row, reason=1 / 0)

@synth.stage(makes=["reason"])
async def empty(row, ask):
    return replace(row, reason="")

@synth.stage(needs=["reason"])
async def sly(row, ask):
    return replace(row, teacher_output="mine")

@synth.stage(needs=["reason"])
async def lost(row, ask):
    return None

@synth.stage(makes=["id"])
async def renames(row, ask):
    return row

@synth.stage(needs=["prompt", "input"], makes=["teacher_output"])
async def answered(row, ask):
    turns = (*row.prompt, Message("user", row.input))
    answer = await ask.target(Request(turns, Sampling(max_tokens=20), ask.seed))
    return replace(row, teacher_output=answer.text)

@synth.stage(needs=["floor_output"])
async def floored(row, ask):
    assert row.floor_output
    return row

@synth.stage(needs=["reason"], makes=["reason"])
async def terse(row, ask):
    if row.input.endswith("item 1"):
        raise synth.RowError("can't be said shorter")
    return row

@synth.stage(needs=["reason"], makes=["conversation", "conversation_end"])
async def talks(row, ask):
    return replace(row, conversation=(Message("assistant", row.reason),), conversation_end="one")

@synth.stage(makes=["floor_output"])
async def floors(row, ask):
    return replace(row, floor_output="a floor")

@synth.stage(needs=["floor_output"], makes=["teacher_output", "conversation"])
async def only(row, ask):
    return replace(row, teacher_output="b", conversation=(Message("assistant", "b"),))

@synth.stage(needs=["teacher_output"], makes=["teacher_output"])
async def loud(row, ask):
    return replace(row, teacher_output=row.teacher_output.upper())

def takes_the_reason(row):
    if row.input.endswith("item 1"):
        raise synth.ReasonError("is no reason")

def takes_the_row(row):
    return "is no row" if row.input.endswith("item 2") else None

no_stage = 3
"""


def task_with(folder, *stages, **sections):
    write_task(folder, stages=list(stages), **sections)
    (folder / "mine.py").write_text(OWN)
    return load_task(str(folder))


def waves(task):
    return [[stage.name for stage in wave] for wave in plan_of(task).waves]


def test_reasons_and_conversations_run_side_by_side(tmp_path):
    assert waves(make_task(tmp_path)) == [["outputs"], ["reasons", "conversations"]]


def test_a_stage_waits_for_what_it_needs_and_for_nothing_else(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "reasons", "mine:shorter", "mine:judged",
                     "conversations")  # fmt: skip
    assert waves(task) == [["outputs"], ["reasons", "judged", "conversations"], ["shorter"]]
    assert plan_of(task).waits["shorter"] >= {"inputs", "outputs", "reasons"}


def test_stages_of_one_s_own_are_run_counted_and_stored(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "reasons", "mine:shorter", "mine:judged",
                     "conversations")  # fmt: skip
    store, tally = make(task, Scripted(), given=texts(4))
    assert [row.position for row in store.rows()] == [0, 2, 3]
    assert all(row.reason.startswith("In short: ") for row in store.rows())
    [rejection] = store.rejections()
    assert (rejection.stage, rejection.reason) == ("judged", "is not worth it")
    assert list(tally.stages) == [
        "inputs", "outputs", "reasons", "shorter", "judged", "conversations",
    ]  # fmt: skip
    assert tally.stages["shorter"].total.answers == 3
    assert store.answers()["shorter"] == 1  # the reasons are alike: one question
    assert tally.rows == 3
    summary = summarize(task.config, store, {}, {})
    assert list(summary.done) == list(tally.stages)
    assert summary.done["judged"] == summary.done["conversations"] == 3


def test_a_stage_may_take_a_shipped_one_s_place(tmp_path):
    task_with(tmp_path / "t", "inputs", "outputs", "mine:Fixed", "conversations")
    with serve(answers, models=None) as server:
        code, printed = synth(*run_command(tmp_path / "t", tmp_path / "o", server))
    assert code == 0, printed
    assert {row["reason"] for row in rows_of(tmp_path / "o")} == {
        "The prompt makes it so, in every row."
    }
    for name in ("README.md", "report.html"):
        assert "Fixed" in (tmp_path / "o" / name).read_text()
    code, printed = synth("report", tmp_path / "o")
    assert code == 0, printed


def test_a_plan_without_reasons_makes_rows_without(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "conversations")
    store, _ = make(task, Scripted(), given=texts(4))
    assert [(bool(row.floor_output), row.reason) for row in store.rows()] == [(True, "")] * 4
    own = task_with(tmp_path / "own", "inputs", "mine:answered", "mine:judged", "conversations")
    store, _ = make(own, Scripted(), given=texts(4))
    assert [(row.floor_output, row.reason) for row in store.rows()] == [("", "")] * 3
    assert synth("validate", tmp_path / "own")[0] == 0


def test_a_row_without_a_reason_goes_past_the_stages_that_need_or_make_one(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "reasons", "mine:shorter", "mine:floored",
                     "conversations", reasons={"share": 0.25})  # fmt: skip
    store, tally = make(task, Scripted(), given=texts(40))
    rows = list(store.rows())
    assert len(rows) == 40
    assert [bool(row.reason) for row in rows] == [in_share(row, 0.25) for row in rows]
    with_one = sum(bool(row.reason) for row in rows)
    assert all(row.reason.startswith("In short: ") for row in rows if row.reason)
    for name in ("reasons", "shorter", "floored"):
        assert (tally.stages[name].done, tally.stages[name].skipped) == (40, 40 - with_one)
    fixed = task_with(tmp_path / "f", "inputs", "outputs", "mine:Fixed", "conversations",
                      reasons={"share": 0.25})  # fmt: skip
    store, _ = make(fixed, Scripted(), given=texts(40))
    assert [bool(row.reason) for row in store.rows()] == [bool(row.reason) for row in rows]


def test_a_stage_of_one_s_own_for_the_reason_costs_the_reason_alone(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "reasons", "mine:terse", "conversations")
    store, _ = make(task, Scripted(), given=texts(3))
    assert [bool(row.reason) for row in store.rows()] == [True, False, True]
    [lost] = store.rejections()
    assert (lost.stage, lost.reason, lost.kept) == ("terse", "can't be said shorter", True)
    assert lost.made["reason"].startswith("The prompt asks")


def test_a_row_that_lost_its_floor_is_given_no_reason_by_another_stage(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "mine:Fixed", "conversations")
    store, _ = make(task, Scripted(with_fault("floor", "")), given=texts(3))
    assert [(bool(row.floor_output), bool(row.reason)) for row in store.rows()] == [
        (True, True), (False, False), (True, True),
    ]  # fmt: skip


def test_a_filter_of_one_s_own_may_take_the_reason_and_keep_the_row(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "reasons", "conversations",
                     filters=["mine:takes_the_reason", "mine:takes_the_row"])  # fmt: skip
    store, _ = make(task, Scripted(), given=texts(4))
    assert [(row.position, bool(row.reason)) for row in store.rows()] == [
        (0, True), (1, False), (3, True),
    ]  # fmt: skip
    assert {(r.position, r.stage, r.filter, r.kept) for r in store.rejections()} == {
        (1, "conversations", "mine:takes_the_reason", True),
        (2, "conversations", "mine:takes_the_row", False),
    }


def test_a_row_without_a_reason_keeps_the_conversation_that_its_stage_would_have_replaced(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "reasons", "mine:talks",
                     reasons={"share": 0.25})  # fmt: skip
    store, _ = make(task, Scripted(), given=texts(15))
    said = [(row.reason, row.conversation[0].content, row.teacher_output) for row in store.rows()]
    assert len(said) == 15
    assert {bool(reason) for reason, *_ in said} == {True, False}
    assert all(first == (reason or teacher) for reason, first, teacher in said)


def test_a_row_that_only_a_skipped_stage_would_have_made_whole_is_rejected(tmp_path):
    task = task_with(tmp_path, "inputs", "mine:floors", "mine:only", reasons={"share": 0.25})
    store, _ = make(task, Scripted(), given=texts(15))
    assert all(row.conversation for row in store.rows())
    rejected = list(store.rejections())
    assert {r.reason for r in rejected} == {"no teacher_output without a reason"}
    assert "only makes it and needs floor_output" in rejected[0].detail
    assert len(list(store.rows())) + len(rejected) == 15


def test_outputs_alone_make_rows_of_one_turn(tmp_path):
    store, tally = make(task_with(tmp_path, "inputs", "outputs"), Scripted(), given=texts(3))
    for row in store.rows():
        assert [turn.content for turn in row.conversation] == [row.teacher_output]
    assert tally.ends == {"first answer": 3}


def test_tokens_are_those_of_the_turns_or_none(tmp_path):
    def sampled(messages, seed):
        text = shop(messages, seed)
        return Answer(f" {text}\n", "stop", token_ids=(1, 2, 3), tokenizer="9-abc")

    def made(*stages):
        store, _ = make(task_with(tmp_path, *stages), Scripted(sampled), given=texts(3))
        return list(store.rows())

    for row in made("inputs", "outputs", "conversations"):
        turns = [turn for turn in row.conversation if turn.role == "assistant"]
        assert row.token_ids == ((1, 2, 3),) * len(turns)
        assert row.tokenizer == "9-abc"
        # White space is the model's; the readable field goes without.
        assert turns[0].content == f" {row.teacher_output}\n"
    for row in made("inputs", "outputs", "mine:loud", "conversations"):
        assert row.conversation[0].content == row.teacher_output.upper()
        assert row.token_ids[0] is None
        assert row.token_ids[1:] == ((1, 2, 3),) * (len(row.token_ids) - 1)
    for row in made("inputs", "outputs", "reasons", "mine:talks"):
        assert not row.token_ids if row.reason else row.token_ids == ((1, 2, 3),)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (("inputs", "conversations"), "conversations needs teacher_output"),
        (("inputs", "mine:floored"), "floored needs floor_output"),
        (("inputs", "reasons", "outputs", "conversations"), "reasons needs floor_output"),
        (("inputs", "outputs", "mine:no_stage", "conversations"), "mine:no_stage is not a stage"),
        (("inputs", "outputs", "mine:renames", "reasons", "conversations"), "makes id, which no"),
        (("inputs", "mine:gone"), "has no gone"),
    ],
)
def test_stages_that_make_no_dataset_are_refused(tmp_path, stages, words):
    task = task_with(tmp_path, *stages)
    with pytest.raises(TaskError, match=words):
        plan_of(task)
    assert synth("validate", tmp_path)[0] == 1


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (("outputs", "inputs"), "stages begins with `inputs`"),
        (("inputs", "outputs", "outputs"), "names outputs twice"),
        (("inputs", "output"), "there is no such stage; known are inputs, outputs"),
    ],
)
def test_a_list_of_stages_that_is_none_is_refused(tmp_path, stages, words):
    with pytest.raises(TaskError, match=words):
        task_with(tmp_path, *stages)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("broken", r"stage mine:broken failed at row 1 .*ZeroDivisionError.*\(mine.py, line 25\)"),
        ("empty", "mine:empty left `reason` empty at row 1"),
        ("sly", "mine:sly changed `teacher_output` at row 1"),
        ("lost", "mine:lost returned NoneType at row 1"),
    ],
)
def test_a_stage_that_fails_is_named_with_the_row(tmp_path, stage, words):
    task = task_with(tmp_path, "inputs", "outputs", "reasons", f"mine:{stage}", "conversations")
    with pytest.raises(SynthError, match=words):
        make(task, Scripted(), given=texts(1))


def test_inputs_alone_are_made_by_any_plan(tmp_path):
    task = task_with(tmp_path, "inputs", "outputs", "mine:Fixed", "conversations",
                     inputs={"count": 1})  # fmt: skip
    assert tries(task, ["find me a tent", *["never"] * 40])[0] == ["find me a tent"]
