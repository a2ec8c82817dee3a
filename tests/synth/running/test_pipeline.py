import asyncio
from dataclasses import replace

import pytest

from genpi_plugin.data.inputs.given import GivenInputs
from synth.dataset.summary import remarks, summarize
from synth.engines.base import Answer, ToolCall
from synth.errors import EngineError, RowError, SynthError
from synth.progress.progress import Tally
from synth.running.limits import MANY
from synth.running.models import IN_FLIGHT, Models
from synth.running.pipeline import synthesize
from synth.store.store import Store
from tests.synth.scripted import PROMPT, Scripted, make_task, shop, stage_of


def make(task, target, generator=None, given=None, store=None):
    """Run all stages in memory; (store, tally)."""
    store = store or Store(":memory:")
    tally = Tally(task.config.inputs.count)
    models = Models(target, generator or target)
    asyncio.run(synthesize(task, models, store, tally, 0, given))
    return store, tally


def texts(count):
    return GivenInputs.of_texts([f"find item {n}" for n in range(count)])


def with_fault(stage, fault, number=1):
    """`shop`, but the rows whose input ends in `number` meet `fault` at `stage`."""

    def script(messages, seed):
        own = any(f"find item {number}" in turn.content for turn in messages)
        return fault if own and stage_of(messages) == stage else shop(messages, seed)

    return script


def test_every_row_is_whole_and_by_the_right_model(tmp_path):
    task = make_task(tmp_path)
    target, generator = Scripted(name="small"), Scripted(name="large")
    store, tally = make(task, target, generator)
    rows = list(store.rows())
    assert [row.position for row in rows] == [0, 1, 2, 3]
    assert len({row.id for row in rows}) == 4
    for row in rows:
        assert row.prompt_id == task.prompt_id
        assert row.prompt[0].content == PROMPT
        assert row.floor_output.startswith("Sure, I can help with please find")
        assert row.teacher_output.startswith("search[")
        assert row.reason.startswith("The prompt asks")
        assert row.conversation[0].content == row.teacher_output
        roles = [turn.role for turn in row.conversation]
        assert roles == ["assistant", "user"] * (len(roles) // 2) + ["assistant"]
    assert set(target.stages()) == {"floor", "teacher"}
    assert set(generator.stages()) == {"inputs", "reasons", "environment"}
    assert tally.stages["conversations"].done == 4


def test_the_floor_is_asked_with_the_input_alone(tmp_path):
    engine = Scripted()
    make(make_task(tmp_path), engine, given=texts(1))
    floor = next(r for r in engine.asked if stage_of(r.messages) == "floor")
    assert [(m.role, m.content) for m in floor.messages] == [("user", "find item 0")]


@pytest.mark.parametrize(
    ("stage", "fault", "counted", "reason"),
    [
        ("teacher", "", "outputs", "teacher output empty"),
        ("teacher", Answer("a", "length"), "outputs", "teacher output cut by the token limit"),
        (
            "teacher",
            RowError("longer than the model's context"),
            "outputs",
            "longer than the model",
        ),
    ],
)
def test_a_row_that_fails_is_rejected_with_its_reason(tmp_path, stage, fault, counted, reason):
    task = make_task(tmp_path)
    store, tally = make(task, Scripted(with_fault(stage, fault)), given=texts(4))
    assert [row.position for row in store.rows()] == [0, 2, 3]
    [rejection] = store.rejections()
    assert (rejection.stage, rejection.position) == (counted, 1)
    assert rejection.reason.startswith(reason)
    assert rejection.made["input"] == "find item 1"
    assert tally.stages[counted].rejected.total() == 1


def test_a_floor_that_rambles_is_kept_and_counted(tmp_path):
    """Nothing is trained on it: the limit may cut it."""
    cut = Scripted(with_fault("floor", Answer("Sure, here are some", "length")))
    task = make_task(tmp_path)
    store, _ = make(task, cut, given=texts(4))
    assert [row.floor_cut for row in store.rows()] == [False, True, False, False]
    assert summarize(task.config, store, {}, {}).floors_cut == 1


def test_a_dead_engine_stops_the_run_with_its_own_words(tmp_path):
    error = EngineError("There is no server at x.", "Start it.")
    with pytest.raises(EngineError) as caught:
        make(make_task(tmp_path), Scripted(with_fault("floor", error)), given=texts(4))
    assert caught.value is error


def test_a_defect_is_not_hidden(tmp_path):
    engine = Scripted(with_fault("floor", ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError):
        make(make_task(tmp_path), engine, given=texts(4))


def test_a_model_that_says_nothing_stops_the_run_early(tmp_path):
    task = make_task(tmp_path, inputs={"count": 2000})
    engine = Scripted(lambda m, s: "" if stage_of(m) == "teacher" else shop(m, s))
    with pytest.raises(SynthError, match=r"^0 of \d+ rows came through") as caught:
        make(task, engine, given=texts(2000))
    assert "teacher output empty" in caught.value.cause
    assert len(engine.asked) <= 2 * (IN_FLIGHT + MANY)


def test_early_rejections_do_not_stop_a_run_whose_rows_are_on_their_way(tmp_path):
    """Every third teacher output is cut, and that is known long before any row has its reason."""

    def script(messages, seed):
        stage = stage_of(messages)
        cut = stage == "teacher" and messages[-1].content.endswith(("1", "4", "7"))
        return Answer("search[", "length") if cut else shop(messages, seed)

    class SlowReasons(Scripted):
        async def generate(self, request):
            if stage_of(request.messages) == "reasons":
                await asyncio.sleep(0.3)
            return await super().generate(request)

    task = make_task(tmp_path, conversations={"max_turns": 1})
    store, _ = make(task, SlowReasons(script), given=texts(100))
    assert len(list(store.rows())) == 70


def test_a_small_run_without_rows_is_an_error_too(tmp_path):
    engine = Scripted(lambda m, s: "" if stage_of(m) == "teacher" else shop(m, s))
    with pytest.raises(SynthError, match="0 of 3 rows came through"):
        make(make_task(tmp_path), engine, given=texts(3))


def test_what_was_answered_is_not_asked_again(tmp_path):
    task = make_task(tmp_path, inputs={"count": 8})
    store, stop = Store(":memory:"), [25]

    def script(messages, seed):
        stop[0] -= 1
        return EngineError("gone") if stop[0] < 0 else shop(messages, seed)

    engine = Scripted(script)
    with pytest.raises(EngineError):
        make(task, engine, store=store)
    answered = sum(store.answers().values())
    assert 0 < answered <= 25
    stop[0] = 10**9
    before = len(engine.asked)
    make(task, engine, store=store)
    fresh = Scripted()
    other, _ = make(task, fresh)
    assert len(engine.asked) - before == len(fresh.asked) - answered
    assert list(store.rows()) == list(other.rows())
    before = len(engine.asked)
    make(task, engine, store=store)
    assert len(engine.asked) == before


@pytest.mark.parametrize(("places", "rows"), [(32, IN_FLIGHT), (150, 600)])
def test_rows_in_flight_are_bounded(tmp_path, places, rows):
    task = make_task(tmp_path, inputs={"count": 3 * rows}, conversations={"max_turns": 1})
    flying = [0, 0]

    class Counting(Scripted):
        capacity = places

        async def generate(self, request):
            flying[0] += 1
            flying[1] = max(flying)
            try:
                return await super().generate(request)
            finally:
                flying[0] -= 1

    make(task, Counting(), given=texts(3 * rows))
    assert rows <= flying[1] <= 2 * rows


def test_no_system_turn_is_sent_where_the_template_takes_none(tmp_path):
    engine = Scripted()
    make(make_task(tmp_path, prompt_role="user"), engine)
    assert set(engine.stages()) == {"inputs", "floor", "teacher", "reasons", "environment"}
    for request in engine.asked:
        roles = [message.role for message in request.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_rows_in_flight_are_as_many_as_keep_both_models_busy():
    class Wide(Scripted):
        capacity = 500

    assert Models(Scripted(), Scripted()).rows_in_flight == IN_FLIGHT
    assert Models(Scripted(), Wide()).rows_in_flight == 2000
    assert Models(Wide(), Scripted()).rows_in_flight == 2000


THOUGHT = Answer("", "stop", reasoning="They want a lamp.")
CALLED = Answer("", "stop", tool_calls=(ToolCall("1", "search", '{"words": "lamp"}'),))


@pytest.mark.parametrize(
    ("stage", "answer", "reason", "detail"),
    [
        ("teacher", CALLED, "teacher output came to no text: it called the tool search",
         'search({"words": "lamp"})'),
        ("floor", THOUGHT, "floor output came to no text: it thought", "17 characters"),
        ("reasons", THOUGHT, "reason came to no text: it thought", "a lamp."),
        ("teacher", replace(THOUGHT, finish="length"),
         "teacher output cut by the token limit while it thought",
         "It came to no text. It thought (17 characters)"),
        ("teacher", Answer("", "length"), "teacher output cut by the token limit", "thinks first?"),
        ("teacher", Answer("", "stop"), "teacher output empty", "answered with nothing"),
    ],
)  # fmt: skip
def test_an_answer_without_text_says_what_it_has_instead(tmp_path, stage, answer, reason, detail):
    task = make_task(tmp_path)
    store, _ = make(task, Scripted(with_fault(stage, answer)), given=texts(4))
    [rejection] = store.rejections()
    assert rejection.reason == reason
    assert detail in rejection.detail


def test_a_turn_without_text_ends_the_conversation_and_says_why(tmp_path):
    def script(messages, seed):
        agent_again = stage_of(messages) == "teacher" and len(messages) > 3
        return CALLED if agent_again else shop(messages, seed)

    store, tally = make(make_task(tmp_path), Scripted(script), given=texts(4))
    assert tally.ends == {"agent turn came to no text: it called the tool search": 4}
    assert {len(row.conversation) for row in store.rows()} == {1}


def test_a_generator_that_only_thinks_is_told_from_a_silent_one(tmp_path):
    def script(messages, seed):
        return THOUGHT if stage_of(messages) == "inputs" else shop(messages, seed)

    engine = Scripted(script)
    with pytest.raises(SynthError, match="came to no text: it thought") as caught:
        make(make_task(tmp_path, inputs={"count": 100}), engine)
    assert "inputs.max_tokens" in caught.value.cure
    assert len(engine.asked) <= 300


def test_well_formed_actions_are_counted_over_all_turns_of_the_agent(tmp_path):
    """Each row's first answer is an action; the second row goes on with a word."""

    def script(messages, seed):
        later = stage_of(messages) == "teacher" and len(messages) > 3
        own = any("find item 1" in turn.content for turn in messages)
        return "Hm, let me see." if later and own else shop(messages, seed)

    task = make_task(tmp_path, conversations={"max_turns": 2})
    store, _ = make(task, Scripted(script), given=texts(2))
    summary = summarize(task.config, store, {}, {})
    assert summary.well_formed == {"teacher": 1.0, "floor": 0.0}
    assert (summary.agent_turns, summary.agent_turns_formed) == (4, 3)
    assert "over all 4 turns of the agent 75%" in " ".join(remarks(summary))
    strict = make_task(tmp_path / "s", outputs={"require_action": True})
    store, _ = make(strict, Scripted(script), given=texts(2))
    ends = [(row.conversation_end, len(row.conversation)) for row in store.rows()]
    assert ends[1] == ("agent turn without a well-formed action", 1)
