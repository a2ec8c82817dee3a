import asyncio

import pytest

from synth.engines.base import Answer, Message
from synth.engines.tops import Tops
from synth.errors import EngineError, RowError
from synth.stages.conversations import conversations
from synth.stages.environment import OPENING, environment_messages
from synth.stages.inputs import new_row
from synth.stages.stage import Ask
from synth.stages.talk import Talk
from synth.stages.turns import Turn
from tests.synth.scripted import PROMPT, Scripted, make_task

TALK = "<USER>:\nrules\n<AGENT>:\nOk.\n<USER>:\nobs 1\n<AGENT>:\nact 1\n"


def row_of(task, text="obs 2", teacher="act 2"):
    row = new_row(task, 0, text)
    return type(row)(**{**vars(row), "teacher_output": teacher})


def talk(task, agent, environment, **changes):
    """Run the stage with two scripts; (row, agent's engine, environment's engine)."""
    target, generator = Scripted(agent), Scripted(environment)
    row = row_of(task, **changes)
    row = asyncio.run(conversations(row, Ask(target.generate, generator.generate, task, 0)))
    return row, target, generator


def counting(prefix):
    """A script that answers prefix 1, prefix 2 ..."""
    numbers = iter(range(1, 100))
    return lambda messages, seed: f"{prefix} {next(numbers)}"


def told(messages):
    return [(turn.role, turn.content) for turn in messages]


def test_agent_and_environment_take_turns_up_to_the_limit(tmp_path):
    task = make_task(tmp_path, conversations={"max_turns": 3})
    row, target, generator = talk(task, counting("act"), counting("page"))
    assert told(row.conversation) == [
        ("assistant", "act 2"),
        ("user", "page 1"),
        ("assistant", "act 1"),
        ("user", "page 2"),
        ("assistant", "act 2"),
    ]
    assert row.conversation_end == "turn limit"
    assert len(target.asked) == len(generator.asked) == 2


def test_one_turn_asks_nobody(tmp_path):
    task = make_task(tmp_path, conversations={"max_turns": 1})
    row, target, generator = talk(task, counting("act"), counting("page"))
    assert told(row.conversation) == [("assistant", "act 2")]
    assert not target.asked
    assert not generator.asked


def test_the_agent_sees_the_prompt_and_the_whole_history(tmp_path):
    task = make_task(tmp_path, prompt_role="user", conversations={"max_turns": 2})
    _, target, _ = talk(task, counting("act"), counting("page"))
    assert told(target.asked[0].messages) == [
        ("user", f"{PROMPT}\n\nobs 2"),
        ("assistant", "act 2"),
        ("user", "page 1"),
    ]
    assert target.asked[0].sampling == task.config.outputs.sampling


def test_the_environment_sees_the_talk_with_roles_swapped_and_no_instruction(tmp_path):
    task = make_task_txt(tmp_path, TALK, reminder="Be short.", end_marker="[STOP]")
    turns = [Message("assistant", "act 2")]
    messages = environment_messages(row_of(task), turns, task)
    assert "a web shop" in messages[0].content
    assert "[STOP]" in messages[0].content
    assert told(messages[1:]) == [
        ("user", "Ok."),
        ("assistant", "obs 1"),
        ("user", "act 1"),
        ("assistant", "obs 2"),
        ("user", "act 2\n\nBe short."),
    ]


def make_task_txt(folder, prompt, prompt_role="system", **settings):
    """A task whose prompt is a transcript."""
    from synth.task.taskfile import load_task
    from tests.synth.scripted import write_task

    write_task(folder, conversations=settings, prompt_role=prompt_role)
    (folder / "prompt.txt").write_text(prompt)
    return load_task(str(folder), {"prompt": "prompt.txt"})


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [
        # A system prompt alone: the environment opens, so a user turn is put before it.
        ("<SYSTEM>:\nrules", [("user", OPENING), ("assistant", "obs 2"), ("user", "act 2")]),
        # One user turn is the instruction; the input in it is the environment's.
        ("<USER>:\nrules", [("user", OPENING), ("assistant", "obs 2"), ("user", "act 2")]),
        # Examples after a system prompt are all shown.
        (
            "<SYSTEM>:\nrules\n<USER>:\nobs 1\n<AGENT>:\nact 1",
            [
                ("user", OPENING),
                ("assistant", "obs 1"),
                ("user", "act 1"),
                ("assistant", "obs 2"),
                ("user", "act 2"),
            ],
        ),
        # A lead-in at the prompt's end stands before the input, as the agent sees it.
        (
            "<USER>:\nrules\n<AGENT>:\nOk.\n<USER>:\nNew problem:",
            [("user", "Ok."), ("assistant", "New problem:\n\nobs 2"), ("user", "act 2")],
        ),
    ],
)
def test_what_of_the_prompt_the_environment_sees(tmp_path, prompt, seen):
    task = make_task_txt(tmp_path, prompt)
    turns = [Message("assistant", "act 2")]
    messages = environment_messages(row_of(task), turns, task)
    assert told(messages[1:]) == seen
    assert "rules" not in str(messages)


@pytest.mark.parametrize(
    ("turn", "end"),
    [
        ("[END_CONVERSATION]", "end marker"),
        ("Thank you, bye. [END_CONVERSATION]", "end marker"),
        ("  ", "environment turn empty"),
        (Answer("page 9", "length"), "environment turn cut by the token limit"),
        ("OBS  2", "environment repeats itself"),
        (RowError("longer than the model's context"), "longer than the model's context"),
    ],
)
def test_a_bad_or_last_environment_turn_ends_the_conversation_before_it(tmp_path, turn, end):
    row, _, _ = talk(make_task(tmp_path), counting("act"), lambda messages, seed: turn)
    assert told(row.conversation) == [("assistant", "act 2")]
    assert end in row.conversation_end


def test_an_environment_that_says_the_same_again_ends_the_conversation(tmp_path):
    """A terminal may be silent twice in a row; the input is never the answer to itself."""
    task = make_task(tmp_path, conversations={"max_turns": 9})
    row, _, _ = talk(task, counting("act"), lambda messages, seed: "(no output)")
    assert [turn.content for turn in row.conversation if turn.role == "user"] == ["(no output)"] * 2
    assert row.conversation_end == "environment repeats itself"
    row, _, _ = talk(task, counting("act"), lambda messages, seed: "obs 2")
    assert (len(row.conversation), row.conversation_end) == (1, "environment repeats itself")


@pytest.mark.parametrize(
    ("turn", "end"),
    [
        ("", "agent turn empty"),
        (Answer("act", "length"), "agent turn cut by the token limit"),
        (RowError("longer than the model's context"), "agent turn longer than"),
    ],
)
def test_a_bad_agent_turn_takes_the_turn_before_it_along(tmp_path, turn, end):
    answers = iter(["act 3", turn])
    row, _, _ = talk(make_task(tmp_path), lambda m, s: next(answers), counting("page"))
    assert told(row.conversation) == [
        ("assistant", "act 2"),
        ("user", "page 1"),
        ("assistant", "act 3"),
    ]
    assert row.conversation_end.startswith(end)


def test_an_answer_with_the_end_pattern_is_the_last(tmp_path):
    task = make_task(tmp_path, conversations={"end_pattern": r"click\[Buy"})
    row, _, generator = talk(task, lambda m, s: "click[Buy Now]", counting("page"))
    assert row.conversation[-1].content == "click[Buy Now]"
    assert row.conversation_end == "end pattern"
    assert len(generator.asked) == 1


def test_a_dead_engine_is_not_an_end(tmp_path):
    with pytest.raises(EngineError):
        talk(make_task(tmp_path), counting("act"), lambda m, s: EngineError("gone"))


def test_where_no_system_turn_is_taken_the_instruction_stands_in_the_first_turn(tmp_path):
    task = make_task_txt(tmp_path, TALK, environment="an old clerk")
    plain = environment_messages(row_of(task), [Message("assistant", "act 2")], task)
    other = make_task_txt(tmp_path / "u", TALK, environment="an old clerk", prompt_role="user")
    folded = environment_messages(row_of(other), [Message("assistant", "act 2")], other)
    assert plain[0].role == "system"
    assert told(folded) == [("user", f"{plain[0].content}\n\nOk."), *told(plain[2:])]


def test_tokens_of_two_tokenizers_are_not_kept_under_one():
    first = Message("assistant", "search[lamp]")
    asked = (Message("user", "A page."),)
    tops = [Tops.of(1, [{token: -0.5}] * 2) for token in range(3)]
    talked = Talk([first], [first], first.content, [(1, 2)], "mark of one", [tops[0]])
    for turn in (
        Turn(Message("assistant", "click[a]"), (3, 4), "mark of another", tops[1]),
        Turn(Message("assistant", "click[b]"), (5, 6), "mark of one", tops[2]),
        Turn(Message("assistant", "click[c]")),
    ):
        talked.add(asked, turn, turn.message.content)
    assert (talked.token_ids, talked.tokenizer) == ([(1, 2), None, (5, 6), None], "mark of one")
    assert talked.tops == [tops[0], None, tops[2], None]
    talked.drop()
    talked.drop()
    assert (talked.token_ids, talked.tops) == ([(1, 2), None], [tops[0], None])
    plain = Talk([first], [first], first.content, [None], "", [None])
    plain.add(asked, Turn(Message("assistant", "click[a]"), (3, 4), "mark of another"), "click[a]")
    assert (plain.token_ids, plain.tokenizer) == ([None, (3, 4)], "mark of another")
