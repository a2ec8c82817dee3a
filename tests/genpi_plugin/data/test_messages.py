"""Messages with calls, thoughts and results: read in each form they come in, or refused by name."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from genpi_plugin.data.messages import arguments_of, readable
from genpi_plugin.data.rows import parse
from genpi_plugin.errors import RowError
from tests.genpi_plugin.rows_made import our_row

ARGUMENTS = '{"item": "wool socks", "size": 27, "gift": null}'


def call(number: int = 1, arguments=ARGUMENTS, **changes):
    function = {"name": "stock_of", "arguments": arguments}
    return {"id": f"c{number}", "type": "function", "function": function, **changes}


def calling(*calls, content=""):
    return {"role": "assistant", "content": content, "tool_calls": list(calls) or [call()]}


def result(number: int = 1, content: str = "2 pairs"):
    return {"role": "tool", "tool_call_id": f"c{number}", "content": content}


def user(content: str = "and in blue?"):
    return {"role": "user", "content": content}


def said(content: str = "Two.", **more):
    return {"role": "assistant", "content": content, **more}


def refused(**changes) -> str:
    with pytest.raises(RowError) as error:
        parse(our_row(**changes), "shop, row 3")
    assert error.value.cause.startswith("shop, row 3: ")
    assert error.value.cure
    return error.value.cause


def conversation_of(*messages):
    return parse(our_row(conversation=list(messages)), "w").conversation


def test_calls_thoughts_and_results_are_kept_as_they_were_given():
    first = {**calling(call(1), call(2), content="I look."), "reasoning_content": "Both."}
    given = [first, result(2), {**result(1), "name": "stock_of"}, said(), user(), said("Yes.")]
    assert conversation_of(*given) == given


@pytest.mark.parametrize("empty", [None, ""])
def test_an_answer_may_be_calls_alone(empty):
    assert conversation_of({**calling(), "content": empty})[0]["content"] == ""
    assert "conversation[0].content" in refused(conversation=[said(empty)])


def test_calls_in_a_column_of_json():
    as_json = {**calling(), "tool_calls": json.dumps([call()])}
    assert conversation_of(as_json) == [calling()]


def test_arguments_in_a_mapping_are_kept_by_value():
    given = {"item": "wool socks", "sizes": [27, 28.5], "gift": {"wrap": True}}
    [message] = conversation_of(calling(call(arguments=given)))
    assert arguments_of(message["tool_calls"][0]) == given


def test_a_mapping_with_nulls_is_refused_because_columns_are_padded_with_them():
    said_why = refused(conversation=[calling(call(arguments={"item": "socks", "size": None}))])
    assert "conversation[0].tool_calls[0].function.arguments" in said_why


def test_parquet_pads_with_nulls_and_nothing_of_it_stays(tmp_path):
    talk = [{**calling(), "reasoning_content": "Hm."}, result(), said()]
    rows = [our_row(id="a", kept=None), our_row(id="b", conversation=talk, kept=[user("tag: 7")])]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    read = load_dataset("parquet", data_files=str(tmp_path / "train.parquet"), split="train")
    plain, called = (parse(raw, "w") for raw in read)
    assert plain.conversation == our_row()["conversation"]
    assert called.conversation == talk
    assert called.kept == [user("tag: 7")]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([calling(call(arguments="{item: socks}"))], "arguments` is no valid JSON"),
        ([calling(call(arguments='["socks"]'))], "arguments` is no JSON object"),
        ([calling(call(type="retrieval"))], "tool_calls[0]` is no call of a function"),
        ([calling(call(index=0))], "tool_calls[0].index` is not one of a message"),
        ([calling(call(id=None))], "tool_calls[0].id` is nothing, not text"),
        ([calling(call(1), call(1))], "have one id"),
        ([{**calling(), "tool_calls": "find()"}], "tool_calls` is no valid JSON"),
        ([{**calling(), "tool_calls": {"id": "a"}}], "tool_calls` is a mapping, not a list"),
        ([said(), {**user(), "tool_calls": [call()]}, said()], "in a message of the role 'user'"),
        ([said(tool_call_id="c1")], "in a message of the role 'assistant'"),
        ([said(function_call={"name": "a"})], "calls stand in `tool_calls`"),
        ([said(reasoning="a")], "thoughts stand in `reasoning_content`"),
        ([said(), {"role": "critic", "content": "a"}, said()], "has the role 'critic'"),
    ],
)
def test_a_message_that_is_wrong_is_refused_by_name(messages, says):
    assert says in refused(conversation=messages)


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([calling(), result()], "roles of `conversation` are assistant, tool"),
        ([said(), result(), said()], "roles of `conversation` are assistant, tool, assistant"),
        ([calling(), said()], "roles of `conversation` are assistant, assistant"),
        ([calling(), result(7), said()], "conversation[1].tool_call_id` is 'c7'"),
        ([calling(), result(), result(), said()], "conversation[2].tool_call_id` is 'c1'"),
        (
            [calling(), result(), said(), user(), calling(call(2)), result(1), said()],
            "conversation[5].tool_call_id` is 'c1'",
        ),
        ([calling(), {"role": "tool", "content": "2"}, said()], "tool_call_id` is missing"),
    ],
)
def test_results_follow_the_calls_that_they_answer(messages, says):
    assert says in refused(conversation=messages)


def test_a_user_may_speak_before_or_after_a_result():
    for between in ([user()], [result(), user()]):
        talk = [calling(), *between, said()]
        assert conversation_of(*talk) == talk


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"request": [said()]}, "roles of `request` are assistant"),
        ({"request": [user(), calling()]}, "roles of `request` are user, assistant"),
        ({"request": [user(), user()]}, "roles of `request` are user, user"),
        ({"request": [user(), calling(), result(4)]}, "request[2].tool_call_id` is 'c4'"),
        ({"request": "hello"}, "`request` is text, not a list"),
        ({"kept": [result()]}, "roles of `kept` are tool"),
        ({"prompt": [user(), calling(), result()]}, "roles of `prompt` are user, assistant, tool"),
    ],
)
def test_the_other_fields_have_orders_of_their_own(changes, says):
    assert says in refused(**changes)


def test_requests_and_prompts_with_calls_are_read():
    history = [said("Hello."), user(), calling(), result(), said(), user("thanks")]
    system = {"role": "developer", "content": "Be brief."}
    row = parse(
        our_row(request=[system, *history], prompt=[user(), calling(), result(), said()]), ""
    )
    assert row.request == [system, *history]
    assert [message["role"] for message in row.prompt] == ["user", "assistant", "tool", "assistant"]


TOOL = {"type": "function", "function": {"name": "stock_of", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ([TOOL], "`tools` is a list, not text"),
        ("[", "`tools` is no valid JSON"),
        ("{}", "`tools` holds no list of tools"),
        (json.dumps([TOOL["function"]]), "tools[0]` is no tool's schema"),
        (json.dumps([TOOL, TOOL]), "two tools of `tools` have one name"),
    ],
)
def test_tools_are_the_json_of_schemas(tools, says):
    assert says in refused(tools=tools)
    assert parse(our_row(tools=json.dumps([TOOL])), "w").tools == [TOOL]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"token_ids": [[1], [2]], "tokenizer": "a"}, "each of the 1 assistant turns"),
        ({"token_ids": "1 2", "tokenizer": "a"}, "(text)"),
        ({"token_ids": [[]], "tokenizer": "a"}, "token_ids[0]` is no list of token ids"),
        ({"token_ids": [[1, -2]], "tokenizer": "a"}, "token_ids[0]` is no list of token ids"),
        ({"token_ids": [[1, 2.0]], "tokenizer": "a"}, "token_ids[0]` is no list of token ids"),
        ({"token_ids": [[1]]}, "`tokenizer` is nothing, not text"),
        ({"tokenizer": "a"}, "a `tokenizer` and no `token_ids`"),
    ],
)
def test_token_ids_are_for_each_turn_and_with_their_tokenizer(changes, says):
    assert says in refused(**changes)


def test_a_turn_whose_tokens_are_not_known_has_none():
    row = parse(our_row(2, token_ids=[None, [5, 6]], tokenizer="a"), "w")
    assert row.sampled == {2: [5, 6]}


def test_a_message_is_readable_with_its_calls():
    text = readable(calling(call(1), call(2, arguments="{}"), content="I look."))
    assert text.splitlines() == [
        "I look.",
        f'{{"name": "stock_of", "arguments": {ARGUMENTS}}}',
        '{"name": "stock_of", "arguments": {}}',
    ]
