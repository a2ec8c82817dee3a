"""Conversations with tools: the generator plays them, or an environment of the task's own."""

import asyncio
import json
from dataclasses import replace

import pytest

import synth
from synth.engines.base import Answer, Message, ToolCall
from synth.engines.messages import as_dicts
from synth.errors import SynthError, TaskError
from synth.quality.calls import calls_apart
from synth.stages.conversations import conversations
from synth.stages.inputs import new_row
from synth.stages.outputs import outputs
from synth.stages.plan import plan_of
from synth.stages.stage import Ask
from synth.store.rows import FROM_LOG
from tests.synth.scripted import Scripted
from tests.synth.tooled import LISTED, TOOLS, calling, tooled


def talk(task, agent, environment=lambda messages, seed: pytest.fail("nobody else is asked")):
    """Run `outputs` and `conversations` with two scripts; (row, agent's engine, other engine).

    A list is answered one after the other.
    """
    engines = []
    for script in (agent, environment):
        if isinstance(script, list):
            queue = iter(script)
            script = lambda messages, seed, queue=queue: next(queue)  # noqa: E731
        engines.append(Scripted(script))

    def asking(engine):
        async def generate(request):
            return calls_apart(await engine.generate(request), request)

        return generate

    ask = Ask(asking(engines[0]), asking(engines[1]), task, 0)
    row = asyncio.run(outputs(new_row(task, 0, "A lamp, please."), ask))
    return asyncio.run(conversations(row, ask)), *engines


def told(messages):
    return [(turn.role, turn.content or turn.tool_calls[0].name) for turn in messages]


def test_the_generator_answers_each_call_as_its_tool_and_then_the_user(tmp_path):
    task = tooled(tmp_path, conversations={"max_turns": 3, "environment": "a customer"})
    two = calling("stock_of", "Let me see.", item="lamp").tool_calls
    first = Answer(
        "Let me see.", "stop", tool_calls=(*two, ToolCall("", "order", two[0].arguments))
    )
    row, target, generator = talk(
        task,
        [first, "Two, and one is yours.", "Bye."],
        ['{"there": 2}', '```json\n{"done": true}\n```', "Thanks!"],
    )
    assert told(row.conversation) == [
        ("assistant", "Let me see."),
        ("tool", '{"there": 2}'),
        ("tool", '{"done": true}'),
        ("assistant", "Two, and one is yours."),
        ("user", "Thanks!"),
        ("assistant", "Bye."),
    ]
    calls = row.conversation[0].tool_calls
    assert [turn.tool_call_id for turn in row.conversation[1:3]] == [call.id for call in calls]
    assert row.conversation_end == "turn limit"
    assert all(request.tools for request in target.asked)
    assert not any(request.tools for request in generator.asked)
    # A tool is shown its schema and what came before; the user hears of no call.
    system, asked = generator.asked[1].messages
    assert json.dumps(TOOLS[1]) in system.content
    assert 'Tool: {"there": 2}' in asked.content
    assert asked.content.index("A lamp, please.") < asked.content.index("## The call now")
    assert told(generator.asked[2].messages[2:]) == [
        ("assistant", "A lamp, please."),
        ("user", "Let me see.\n\nTwo, and one is yours."),
    ]


def test_the_prompt_s_own_turns_show_how_tools_answer(tmp_path):
    task = tooled(tmp_path, LISTED, file="prompt.yml", conversations={"max_turns": 2})
    _, target, generator = talk(task, [calling("stock_of", item="lamp"), "Two."], ['{"there": 2}'])
    asked = generator.asked[0].messages[-1].content
    assert 'Agent: {"name": "stock_of", "arguments": {"item": "desk"}}\nTool: {"there": 3}' in asked
    assert "You sell lamps." not in asked
    # The prompt has one call: the next id is the second.
    assert target.asked[1].messages[-1].tool_call_id == "call00002"


@pytest.mark.parametrize(
    ("result", "end"),
    [
        ("", "tool's result empty"),
        (Answer('{"there": ', "length"), "tool's result cut by the token limit"),
        ('{"name": "stock_of", "arguments": {"item": "lamp"}}', "tool's result plays the agent"),
        ("<|im_start|>assistant", "tool's result holds a role marker"),
        ("There are two lamps.", "tool's result is no JSON"),
        ("I'm sorry, but as an AI language model I can't do that.", "tool's result refuses"),
    ],
)
def test_a_bad_result_ends_the_conversation_before_it(tmp_path, result, end):
    task = tooled(tmp_path, LISTED, file="prompt.yml")
    row, _, _ = talk(task, [calling("stock_of", item="lamp")], [result])
    assert told(row.conversation) == [("assistant", "stock_of")]
    assert row.conversation_end.startswith(end)


def test_a_text_is_a_result_where_the_tool_never_gave_json(tmp_path):
    task = tooled(tmp_path, conversations={"max_turns": 2})
    row, _, _ = talk(task, [calling("stock_of", item="lamp"), "Two."], ["two lamps"])
    assert told(row.conversation)[1:] == [("tool", "two lamps"), ("assistant", "Two.")]


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (calling("sell"), "agent turn calls a tool that is not there (sell)"),
        (calling("order", item=1), "agent turn calls a tool with arguments that do not fit"),
        (
            Answer("", "stop", tool_calls=(ToolCall("", "order", "{"),)),
            "agent turn calls a tool wi",
        ),
        (calling("stock_of", item="lamp"), "agent repeats itself"),
    ],
)
def test_a_bad_call_takes_the_results_before_it_along(tmp_path, answer, end):
    row, _, _ = talk(tooled(tmp_path), [calling("stock_of", item="lamp"), answer], ['{"there": 2}'])
    assert told(row.conversation) == [("assistant", "stock_of")]
    assert row.conversation_end.startswith(end)


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (calling("sell"), "calls a tool that is not there (sell)"),
        (Answer("<tool_call>\n{", "stop"), "writes a malformed call of a tool"),
        (Answer("<think>Hm.</think>Two.", "stop"), "thinks though `thinking: off`"),
        (Answer("Two\x00.", "stop"), "holds control characters"),
        (Answer("Two.", "stop"), ""),
    ],
)
def test_a_log_that_is_kept_ends_before_an_answer_that_is_not_good(tmp_path, bad, fault):
    task = tooled(tmp_path, thinking="off")
    call = ToolCall("c1", "stock_of", '{"item": "lamp"}')
    log = (
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "2", tool_call_id="c1"),
        Message("assistant", "Two."),
        Message("user", "Sure?"),
        Message("assistant", bad.text, tool_calls=bad.tool_calls or ()),
    )
    row = replace(new_row(task, 0, "A lamp?"), teacher_output="x", conversation=log,
                  conversation_end=FROM_LOG)  # fmt: skip
    ask = Ask(lambda _: pytest.fail("asked"), lambda _: pytest.fail("asked"), task, 0)
    row = asyncio.run(conversations(asyncio.run(outputs(row, ask)), ask))
    assert row.conversation == (log[:3] if fault else log)
    end = f"{FROM_LOG}: agent turn {fault}" if fault else FROM_LOG
    assert row.conversation_end.startswith(end)


def test_a_circle_of_calls_is_left_before_it_closes(tmp_path):
    task = tooled(tmp_path, conversations={"max_turns": 9})
    lamp, desk = calling("stock_of", item="lamp"), calling("stock_of", item="desk")
    both = Answer("", "stop", tool_calls=(*desk.tool_calls, *lamp.tool_calls))
    row, _, _ = talk(task, [lamp, both, lamp, both], ["[]"] * 9)
    assert row.conversation_end == "agent and environment repeat themselves"
    # The second time goes with both results before it.
    assert told(row.conversation) == [
        ("assistant", "stock_of"), ("tool", "[]"), ("assistant", "stock_of"),
    ]  # fmt: skip
    assert len(row.conversation[-1].tool_calls) == 2


def test_behind_a_result_no_action_is_asked_for(tmp_path):
    task = tooled(tmp_path, outputs={"require_action": True}, conversations={"max_turns": 5})
    agent = [calling("stock_of", item="lamp"), "Two.", "You are welcome."]
    row, _, _ = talk(task, agent, ['{"there": 2}', "Thanks."])
    assert told(row.conversation)[1:] == [("tool", '{"there": 2}'), ("assistant", "Two.")]
    assert row.conversation_end == "agent turn without a well-formed action"


SHOP = '''
import synth


class Shop:
    """Lamps to count and to order; the customer wants two."""

    made = 0

    def __init__(self, row):
        Shop.made += 1
        self.wanted = row.input

    def reset(self, row):
        self.there, self.done = 2, False

    def step(self, name, arguments):
        if name == "stock_of":
            return {"there": self.there, "ö": arguments["item"]}
        if not self.there:
            raise synth.ToolError("sold out")
        self.there -= 1
        return "ordered"

    async def user(self, conversation):
        assert [turn.role for turn in conversation].count("user") < 2, "asked too often"
        if len(conversation) > 3:
            return None
        return f"Go on with {self.wanted} ({conversation[-1].content})"


def broken(row):
    shop = Shop(row)
    shop.step = lambda name, arguments: 1 / 0
    return shop


def closing(row):
    shop = Shop(row)
    shop.step = lambda name, arguments: vars(shop).update(done=True) or "closed"
    return shop


def setting(row):
    shop = Shop(row)
    shop.step = lambda name, arguments: {1}
    return shop


class Waiting(Shop):
    async def reset(self, row):
        super().reset(row)

    async def step(self, name, arguments):
        return super().step(name, arguments)


async def opening(row):
    return Waiting(row)


class Nothing:
    def __init__(self, row):
        pass


number = 5
'''


def shop(folder, factory="Shop", **conversation):
    settings = {"environment": {"python": f"shop:{factory}"}, "max_turns": 9, **conversation}
    task = tooled(folder, conversations=settings)
    (folder / "shop.py").write_text(SHOP)
    return task


@pytest.mark.parametrize("factory", ["Shop", "Waiting", "opening"])
def test_an_environment_in_code_plays_tools_and_user(tmp_path, factory):
    order = [calling("order", item="lamp", count=count) for count in (1, 2, 3)]
    row, _, _ = talk(
        shop(tmp_path, factory),
        [calling("stock_of", item="lamp"), "Two.", order[0], order[1], order[2], "Out."],
    )
    assert told(row.conversation) == [
        ("assistant", "stock_of"),
        ("tool", '{"there": 2, "ö": "lamp"}'),
        ("assistant", "Two."),
        ("user", "Go on with A lamp, please. (Two.)"),
        ("assistant", "order"),
        ("tool", "ordered"),
        ("assistant", "order"),
        ("tool", "ordered"),
        ("assistant", "order"),
        ("tool", "sold out"),
        ("assistant", "Out."),
    ]
    assert row.conversation_end == "environment's own end"


def test_an_environment_that_is_done_lets_the_agent_speak_once_more(tmp_path):
    task = shop(tmp_path, "closing", require_end=True)
    row, _, _ = talk(task, [calling("order", item="lamp"), "Closed."])
    assert told(row.conversation)[1:] == [("tool", "closed"), ("assistant", "Closed.")]
    assert row.conversation_end == "environment's own end"


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("broken", r"shop:broken failed at row 1 \(input: 'A lamp, please.'\), call order"
                   r".*ZeroDivisionError.*shop.py, line"),
        ("setting", "gave back set at row 1"),
        ("Nothing", "has neither `step` nor `user`"),
    ],
)  # fmt: skip
def test_an_environment_s_own_errors_stop_the_run_and_name_the_call(tmp_path, factory, words):
    with pytest.raises(SynthError, match=words):
        talk(shop(tmp_path, factory), [calling("order", item="lamp")])


def test_an_environment_is_looked_for_before_anything_is_asked(tmp_path):
    assert "shop:Shop" in plan_of(shop(tmp_path)).sources
    for factory, words in (("number", "can't be called"), ("gone", "has no gone")):
        with pytest.raises(TaskError, match=words):
            plan_of(shop(tmp_path, factory))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"python": "shop"}, "`conversations.environment.python`"),
        ({"pyton": "shop:Shop"}, "`conversations.environment.pyton` is not a key of a task"),
        (5, "line 3: `conversations.environment` is not text"),
    ],
)
def test_an_environment_of_another_form_is_refused(tmp_path, given, words):
    with pytest.raises(TaskError, match=words):
        tooled(tmp_path, conversations={"environment": given})


def test_the_row_can_be_read_by_the_plugin(tmp_path):
    from genpi_plugin.data.messages import parse_messages
    from genpi_plugin.data.roles import check_conversation

    row, _, _ = talk(shop(tmp_path), [calling("stock_of", item="lamp"), "Two."] + ["Bye."] * 3)
    read = parse_messages(as_dicts(row.conversation), "conversation", "row 1")
    check_conversation(read, "conversation", "row 1")
    assert read[1]["tool_call_id"] == read[0]["tool_calls"][0]["id"] == "call00001"


def test_what_an_environment_may_raise_is_there_for_users():
    assert issubclass(synth.ToolError, Exception)
    assert not issubclass(synth.ToolError, SynthError)
    assert Message("tool", "x").role == "tool"
