"""Contract 1: what is read, and what is refused with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genpi_plugin.data.rows import SECOND_VERSION, parse, teacher_messages
from genpi_plugin.data.transcripts import parse_transcript, prompt_text
from genpi_plugin.errors import RowError
from tests.genpi_plugin.rows_made import PROMPT, official_row, our_row


def test_our_row_is_read_as_it_is():
    row = parse(our_row(turns=2), "train.parquet, row 3")
    assert row.prompt == PROMPT
    assert [m["role"] for m in row.conversation] == ["assistant", "user", "assistant"]
    assert row.id == "row-1"


def test_official_row_is_read_by_its_own_names():
    row = parse(official_row(), "w")
    assert row.prompt == [
        {"role": "user", "content": "You are a shop assistant."},
        {"role": "assistant", "content": "Ok."},
        {"role": "user", "content": "Now, my request is:"},
    ]
    # The environment's last word has nobody to answer it.
    assert row.conversation == [
        {"role": "assistant", "content": "Action: search[red cotton shirt]"}
    ]
    assert row.floor_output == "Sure, here are some shirts."
    assert row.prompt_id == "0"


@pytest.mark.parametrize("field", sorted(set(our_row()) - {"id", "floor_output", "reason"}))
def test_missing_field_is_named_with_file_and_row(field):
    broken = our_row()
    del broken[field]
    with pytest.raises(RowError, match=rf"data/x, row 7: the field `{field}` is missing"):
        parse(broken, "data/x, row 7")


def test_missing_official_field_is_named_as_the_user_knows_it():
    broken = official_row()
    del broken["teacher_output_conv"]
    with pytest.raises(RowError, match="`teacher_output_conv` is missing"):
        parse(broken, "w")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reason": "  "}, "`reason` is empty"),
        ({"input": 7}, "`input` is of type int, not text"),
        ({"conversation": []}, "`conversation` is empty"),
        ({"conversation": "hello"}, "`conversation` is text, not a list"),
        ({"conversation": [{"role": "assistant", "content": ""}]}, r"conversation\[0\].content"),
        ({"conversation": [{"role": "judge", "content": "x"}]}, "has the role 'judge'"),
        (
            {"conversation": [{"role": "user", "content": "x"}]},
            "roles of `conversation` are user",
        ),
        (
            {
                "conversation": [
                    {"role": "assistant", "content": "x"},
                    {"role": "user", "content": "y"},
                ]
            },
            "assistant, user",
        ),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "roles of `prompt` are assistant"),
        ({"prompt": []}, "`prompt` is empty"),
    ],
)
def test_a_broken_row_is_refused(changes, says):
    with pytest.raises(RowError, match=says) as error:
        parse(our_row(**changes), "train, row 0")
    assert "What to do" in str(error.value)


def test_an_input_goes_on_in_a_prompt_that_ends_in_a_user_turn():
    prompt = parse_transcript("<USER>:\nrules\n<AGENT>:\nOk.\n<USER>:\nMy problem is:\n")
    messages = teacher_messages(prompt, [{"role": "user", "content": "count files"}])
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[-1]["content"] == "My problem is:\n\ncount files"


def test_an_empty_last_marker_leaves_the_input_a_turn_of_its_own():
    prompt = parse_transcript("<USER>:\nrules\n<AGENT>:\nOk.\n<USER>:\n")
    messages = teacher_messages(prompt, [{"role": "user", "content": "hi"}])
    assert [m["content"] for m in messages] == ["rules", "Ok.", "hi"]


CONTENT = st.text(
    st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40
).map(str.strip).filter(lambda text: text and "<" not in text)  # fmt: skip


@given(st.lists(CONTENT, min_size=2, max_size=6))
def test_a_prompt_of_turns_survives_being_written_and_read(contents):
    prompt = [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)
    ]
    assert parse_transcript(prompt_text(prompt)) == prompt


def test_a_lone_message_is_recited_without_markers():
    assert prompt_text([{"role": "system", "content": "Be brief."}]) == "Be brief."


def turn(**more):
    return [{"role": "assistant", "content": "Let me see.", **more}]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": "shop"}, "source"),
        ({"tool_calls": [{"id": "c1"}]}, "tool_calls"),
        ({"conversation": turn(audio="hm")}, "conversation[0].audio"),
        ({"prompt": [{"role": "system", "content": "a", "weight": 1}]}, "prompt[0].weight"),
    ],
)
def test_a_field_that_nothing_reads_is_refused_by_name(changes, field):
    with pytest.raises(RowError) as error:
        parse(our_row(**changes), "data/x, row 7")
    assert error.value.cause.startswith(f"data/x, row 7: the field `{field}` is not one of a")
    assert error.value.cure


def test_columns_that_are_empty_in_a_row_hold_nothing_to_lose():
    """As `datasets` fills them in where other rows have something."""
    conversation = turn(tool_calls=None, reasoning_content="")
    row = parse(our_row(tools=None, source="", conversation=conversation), "w")
    assert row.conversation == turn()


def test_the_synthesizers_columns_are_all_known():
    from synth.dataset.export import SCHEMA
    from synth.dataset.official import official_table

    table = SCHEMA.empty_table()
    for names in (table.column_names, official_table(table).column_names):
        row = our_row() if "prompt" in names else official_row()
        assert set(names) <= {*row, *SECOND_VERSION}
        parse({name: row.get(name) for name in names}, "w")


def test_structs_that_arrow_fills_up_with_nulls_hold_nothing_to_lose():
    """Read back from Parquet: where one message has a field, all have it."""
    filled = {"tool_calls": [None], "function_call": {"name": None, "arguments": None}}
    row = parse(our_row(conversation=turn(**filled), score=float("nan")), "w")
    assert row.conversation == [{"role": "assistant", "content": "Let me see."}]
    with pytest.raises(RowError, match="function_call"):
        parse(our_row(conversation=turn(function_call={"name": "find", "arguments": None})), "w")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt_id": ""}, "`prompt_id` is empty"),
        ({"prompt_id": " "}, "`prompt_id` is empty"),
        ({"prompt_id": ["a"]}, "`prompt_id` is a list, not a name"),
        ({"prompt_id": True}, "`prompt_id` is of type bool"),
        ({"id": {"a": 1}}, "`id` is a mapping, not a name"),
        ({"id": float("nan")}, "`id` is of type float"),
    ],
)
def test_an_id_is_a_name_or_a_number(changes, says):
    with pytest.raises(RowError, match=says):
        parse(our_row(**changes), "w")
    assert parse(our_row(prompt_id=7, id=0), "w").prompt_id == "7"


@pytest.mark.parametrize(
    ("conversation", "says"),
    [
        (turn(content=None, reasoning_content="hm"), "content` is nothing, not text"),
        (turn(content="", reasoning_content="hm"), "content` is empty"),
        ([{"from": "gpt", "value": "x"}], "turn 0 .* its fields are from, value"),
        ([{"role": "tool", "content": "x"}], "tool_call_id` is missing"),
        ([{"role": "function", "content": "x"}], "roles are .*`tool`"),
        ([{"role": "developer", "content": "x"}], "its order is assistant"),
        ([*turn(), None], "turn 1 of `conversation` is nothing, not a message"),
        ([{"role": ["user"], "content": "x"}], "has the role"),
    ],
)
def test_a_message_that_is_none_is_refused_for_what_it_holds(conversation, says):
    with pytest.raises(RowError, match=says):
        parse(our_row(conversation=conversation), "w")
