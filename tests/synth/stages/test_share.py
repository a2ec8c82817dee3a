"""Which rows have a floor output and a reason, and what becomes of one that is no good."""

import hashlib
import logging
from collections import Counter

import pytest
import yaml

from genpi_plugin.args import GenPISettings
from synth.dataset.summary import remarks, summarize
from synth.engines.base import Answer
from synth.errors import EngineError, RequestError, RowError
from synth.running.limits import ENOUGH
from synth.stages.share import in_share
from synth.store.fingerprint import row_id
from synth.store.rows import Row, to_record
from synth.task.config import TaskConfig
from synth.task.taskfile import load_task, shipped_tasks
from tests import ROOT
from tests.synth.running.test_pipeline import make, texts, with_fault
from tests.synth.scripted import Scripted, make_task, shop, stage_of


def rows(count):
    return [Row(n, row_id("shop", f"find item {n}"), "shop", (), f"find item {n}")
            for n in range(count)]  # fmt: skip


def test_the_share_is_what_the_plugin_trains_unless_told():
    trained = GenPISettings().prompt_generation_share
    assert TaskConfig(name="t").reasons.share == trained


def test_each_shipped_task_has_the_reasons_that_its_recipe_recites():
    for name in shipped_tasks():
        recipe = yaml.safe_load((ROOT / "recipes" / f"genpi_{name}.yml").read_text())
        recited = GenPISettings(**recipe["genpi"]).prompt_generation_share
        assert load_task(name).config.reasons.share == recited, name


def test_a_share_of_many_rows_is_that_share():
    for share in (0.05, 0.25, 0.8):
        chosen = sum(in_share(row, share) for row in rows(10_000))
        assert chosen == pytest.approx(
            10_000 * share, abs=4 * (10_000 * share * (1 - share)) ** 0.5
        )
    assert all(in_share(row, 1.0) for row in rows(100))
    assert not any(in_share(row, 0.0) for row in rows(100))


def test_the_choice_is_the_row_s_own():
    """Against the formula, so that no later version chooses other rows in a folder."""
    for row in rows(200)[1:]:
        drawn = int(hashlib.sha256(f"reason:{row.id}".encode()).hexdigest()[:16], 16) / 16**16
        assert in_share(row, 0.25) is (drawn < 0.25)
    larger = {row.id for row in rows(200) if in_share(row, 0.5)}
    assert {row.id for row in rows(200) if in_share(row, 0.25)} < larger


def test_a_single_row_has_a_reason(tmp_path):
    for name in ("a", "b", "c", "d", "e"):
        task = make_task(tmp_path / name, name=name, reasons={"share": 0.01})
        store, _ = make(task, Scripted(), given=texts(1))
        [row] = store.rows()
        assert row.reason


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_only_the_share_is_asked_for(tmp_path, share):
    task = make_task(tmp_path, reasons={"share": share}, inputs={"count": 60})
    engine = Scripted()
    store, tally = make(task, engine, given=texts(60))
    made = list(store.rows())
    chosen = [row.position for row in made if in_share(row, share)]
    assert len(made) == 60
    assert [row.position for row in made if row.reason] == chosen
    assert [row.position for row in made if row.floor_output] == chosen
    asked = Counter(engine.stages())
    assert asked["floor"] == asked["reasons"] == len(chosen)
    assert not list(store.rejections())
    counts = tally.stages["reasons"]
    assert (counts.done, counts.skipped, tally.reasons) == (60, 60 - len(chosen), len(chosen))
    words = f"reasons 60/60 ({60 - len(chosen)} not asked)" if share < 1 else "reasons 60/60,"
    assert words in tally.line()
    summary = summarize(task.config, store, {}, {})
    assert (summary.floors, summary.reasons) == (len(chosen), len(chosen))
    told = " ".join(remarks(summary))
    if share < 1:
        assert f"which recitals need: {len(chosen)} of 60 (`reasons.share` {share:g})" in told
    else:
        assert "recitals" not in told
    assert ("floor 0% (of" in told) is (share == 0.25)
    assert ("floor" in told) is (share > 0)


def test_more_rows_choose_no_other_ones(tmp_path):
    task = make_task(tmp_path, reasons={"share": 0.25})
    few, _ = make(task, Scripted(), given=texts(20))
    more, _ = make(task, Scripted(), given=texts(50))
    assert list(few.rows()) == list(more.rows())[:20]


@pytest.mark.parametrize(
    ("stage", "fault", "counted", "reason"),
    [
        ("reasons", "", "reasons", "reason empty"),
        ("reasons", Answer("It is", "length"), "reasons", "reason cut by the token limit"),
        ("reasons", "Short.", "reasons", "reason shorter than 20 characters"),
        ("reasons", "I'm sorry, but I can't help with that request.", "reasons", "reason refuses"),
        ("reasons", "It searches for search[a tent], as told.", "reasons",
         "reason names another action"),
        ("reasons", "It asks for one action <|im_end|>", "reasons", "holds a role marker"),
        ("reasons", "It asks for one \x1b action, so it is", "reasons",
         "reason holds control characters"),
        ("reasons", RowError("longer than the model's context"), "reasons", "longer than the"),
        ("floor", " ", "outputs", "floor output empty"),
        ("floor", "Sure \x00 thing", "outputs", "floor output holds control characters"),
        ("floor", "Sure <|im_start|>", "outputs", "floor output holds a role marker"),
        ("floor", RowError("refused by the server's filter"), "outputs", "refused by the"),
    ],
)  # fmt: skip
def test_what_recitals_alone_need_costs_no_row(tmp_path, stage, fault, counted, reason):
    task = make_task(tmp_path)
    engine = Scripted(with_fault(stage, fault))
    store, tally = make(task, engine, given=texts(4))
    whole, _ = make(task, Scripted(), given=texts(4))
    for row, other in zip(store.rows(), whole.rows(), strict=True):
        if row.position != 1:
            assert row == other
            continue
        assert (row.teacher_output, row.conversation) == (other.teacher_output, other.conversation)
        assert row.reason == ""
        assert row.floor_output == ("" if stage == "floor" else other.floor_output)
        record = to_record(row)
        assert record["reason"] is None
        assert (record["floor_output"] is None) is (stage == "floor")
    [lost] = store.rejections()
    assert (lost.stage, lost.position, lost.kept) == (counted, 1, True)
    assert lost.reason.startswith(reason)
    assert lost.made["input"] == "find item 1"
    text = fault.text if isinstance(fault, Answer) else fault
    if isinstance(text, str) and text.strip() and "control" not in reason:
        shown = "reason" if stage == "reasons" else "floor_output"
        assert lost.made[shown] == text
    assert not store.rejected()
    assert store.lost() == tally.lost == {lost.reason: 1}
    assert tally.stages["conversations"].done == 4
    assert not any(counts.rejected for counts in tally.stages.values())
    assert Counter(engine.stages())["reasons"] == (3 if stage == "floor" else 4)
    summary = summarize(task.config, store, {}, {})
    assert summary.done == dict.fromkeys(summary.stages, 4)
    assert f"kept without: 1 of 4 (1 x {lost.reason})" in " ".join(remarks(summary))


def test_a_reason_that_is_not_answered_leaves_its_row_for_the_next_run(tmp_path):
    engine = Scripted(with_fault("reasons", RequestError("gone", "wait")))
    store, tally = make(make_task(tmp_path), engine, given=texts(4))
    assert [row.position for row in store.rows()] == [0, 2, 3]
    assert tally.failed["reasons"] == 1
    assert not list(store.rejections())


def test_a_row_that_is_rejected_after_it_lost_its_reason_is_told_once(tmp_path):
    def script(messages, seed):
        if stage_of(messages) == "reasons":
            return ""
        return "" if stage_of(messages) == "environment" else shop(messages, seed)

    task = make_task(tmp_path, conversations={"require_end": True, "end_pattern": r"item 1\]"})
    store, tally = make(task, Scripted(script), given=texts(3))
    assert [row.position for row in store.rows()] == [1]
    assert [(r.stage, r.position, r.kept) for r in store.rejections()] == [
        ("reasons", 1, True), ("conversations", 0, False), ("conversations", 2, False),
    ]  # fmt: skip
    assert tally.lost.total() == 1


def test_a_stage_that_fails_is_judged_by_the_rows_that_it_asked_for(tmp_path):
    """A failing generator stops the run, however few rows are to have a reason."""

    def script(messages, seed):
        gone = RequestError("gone", "wait")
        return gone if stage_of(messages) == "reasons" else shop(messages, seed)

    task = make_task(tmp_path, reasons={"share": 0.1}, conversations={"max_turns": 1})
    with pytest.raises(EngineError, match=rf"of {ENOUGH} rows failed in reasons"):
        make(task, Scripted(script), given=texts(600))


def test_a_run_that_loses_every_reason_says_so_once_and_goes_on(tmp_path, caplog):
    def script(messages, seed):
        return Answer("It", "length") if stage_of(messages) == "reasons" else shop(messages, seed)

    with caplog.at_level(logging.WARNING):
        store, _ = make(make_task(tmp_path), Scripted(script), given=texts(60))
    [told] = [r.getMessage() for r in caplog.records if "reasons came through" in r.getMessage()]
    assert told.startswith(f"0 of {ENOUGH} reasons came through")
    assert f"{ENOUGH} x reason cut by the token limit" in told
    assert len(list(store.rows())) == 60
