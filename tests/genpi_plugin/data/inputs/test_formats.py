"""Each form in which people have their inputs, once whole and once broken."""

from __future__ import annotations

import json

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

from genpi_plugin.data.inputs.given import Reading
from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.errors import GenPIError

CALL = {"id": "c1", "type": "function",
        "function": {"name": "look_up", "arguments": '{"order": 7}'}}  # fmt: skip
LOG = [
    {"role": "user", "content": "where is order 7?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "audio": None},
    {"role": "tool", "tool_call_id": "c1", "content": "shipped"},
    {"role": "assistant", "content": "It is on its way.", "annotations": []},
    {"role": "user", "content": "thanks"},
]
ROLES = [["user"], ["user", "assistant", "tool"],
         ["user", "assistant", "tool", "assistant", "user"]]  # fmt: skip
SHAREGPT = [
    {"from": "human", "value": "where is order 7?"},
    {"from": "function_call", "value": '{"name": "look_up", "arguments": {"order": 7}}'},
    {"from": "observation", "value": "shipped"},
    {"from": "gpt", "value": "It is on its way."},
    {"from": "human", "value": "thanks"},
]
ANSWER = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "usage": {"total": 9},
          "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                       "message": {"role": "assistant", "content": "Bye.",
                                   "refusal": None}}]}  # fmt: skip
REQUEST = {"model": "m", "temperature": 0, "messages": LOG}
BATCH = {"custom_id": "b-1", "method": "POST", "url": "/v1/chat/completions", "body": REQUEST}
BATCH_OUTPUT = {"id": "batch_req_1", "custom_id": "b-1", "error": None,
                "response": {"status_code": 200, "request_id": "r", "body": ANSWER}}  # fmt: skip


def write(path, content):
    """A file with text, with bytes, or with JSON Lines."""
    if isinstance(content, list):
        content = "".join(json.dumps(one) + "\n" for one in content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "column", "texts", "ids"),
    [
        ("a.csv", "one\ntwo\n", "", ["two"], [""]),  # the first row names the column
        ("a.csv", '\ufeffid,input\r\n7,"a, ""b"""\r\n8,"two\r\nlines"\r\n', "",
         ['a, "b"', "two\nlines"], ["7", "8"]),
        ("a.tsv", "n\tquestion, in full\n1\tone, two\n", "question, in full", ["one, two"], [""]),
        ("a.csv", "input,messages\nx,y\n", "messages", ["y"], [""]),
        ("a.jsonl", [{"input": "x", "question": "y", "custom_id": 5}], "question", ["y"], ["5"]),
        ("a.json", '[{"id": "n", "input": "x"}, "z"]', "", ["x", "z"], ["n", ""]),
        ("a.jsonl", [{"input": "thanks", "request": LOG, "id": "row"}], "", ["thanks"], ["row"]),
    ],
)  # fmt: skip
def test_texts_of_tables_and_objects(tmp_path, name, content, column, texts, ids):
    given = read_inputs(write(tmp_path / name, content), reading=Reading(column))
    assert list(given.texts) == texts
    assert [one.id for one in given.inputs] == ids


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.jsonl", [{"id": "l", "messages": LOG, "usage": {"total": 9}}], ""),
        ("a.json", json.dumps({"id": "l", "messages": LOG}, indent=1), ""),
        ("a.json", json.dumps([{"conversation_id": "l", "messages": LOG}]), ""),
        ("a.jsonl", [{"id": "l", "chat": LOG, "messages": "other"}], "chat"),
        ("a.jsonl", [{"id": "l", "conversations": SHAREGPT}], ""),
        ("a.jsonl", [{"id": "l", "messages": SHAREGPT}], ""),
        ("a.jsonl", [{"id": "l", "request": REQUEST}], ""),
        ("a.jsonl", [{**BATCH, "custom_id": "l"}], ""),
    ],
)  # fmt: skip
def test_a_log_is_asked_at_each_answer_whatever_its_form(tmp_path, name, content, column):
    given = read_inputs(write(tmp_path / name, content), reading=Reading(column))
    assert [[turn["role"] for turn in one.request] for one in given.inputs] == ROLES
    assert [one.id for one in given.inputs] == ["l-1", "l-2", "l-3"]
    assert given.texts == ("where is order 7?", "shipped", "thanks")
    [call] = given.inputs[2].request[1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"order": 7}
    assert given.inputs[2].request[2]["tool_call_id"] == call["id"]


def table():
    return {"id": ["l", "m"], "messages": [LOG[:1], [{"role": "user", "content": "bye"}]]}


def test_parquet_and_datasets_hold_logs_and_texts(tmp_path):
    pa.parquet.write_table(pa.Table.from_pydict(table()), tmp_path / "a.parquet")
    saved = datasets.Dataset.from_dict(table())
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(tmp_path / "two")
    (tmp_path / "folder").mkdir()
    saved.to_parquet(tmp_path / "folder" / "train.parquet")
    for path, split in (("a.parquet", ""), ("one", ""), ("two", "test"), ("folder", "")):
        given = read_inputs(tmp_path / path, reading=Reading(split=split))
        assert given.texts == ("where is order 7?", "bye"), path
        assert [one.id for one in given.inputs] == ["l", "m"]
        assert given.unit == "row"
    pa.parquet.write_table(pa.Table.from_pydict({"q": ["x"], "n": [1]}), tmp_path / "b.parquet")
    assert read_inputs(tmp_path / "b.parquet", reading=Reading("q")).texts == ("x",)


CARD = "---\nconfigs:\n- config_name: default\n  data_files: train.jsonl\n---\n"


def test_a_folder_gives_its_own_rows_whatever_was_read_of_its_name(tmp_path):
    for place in ("a", "b", "a"):
        folder = tmp_path / place / "data"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(CARD)
        for text in (place, f"{place} again"):
            write(folder / "train.jsonl", [{"input": text}])
            assert read_inputs(folder).texts == (text,)


def test_a_folder_with_a_script_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "data.py", "x = 1\n")
    with pytest.raises(GenPIError, match="data can't be read: Dataset scripts are no longer"):
        read_inputs(tmp_path / "data")


def test_the_answer_of_a_response_is_an_answer(tmp_path):
    path = tmp_path / "a.jsonl"
    for content in (
        [{"request": REQUEST, "response": ANSWER}],
        [{**REQUEST, "response": ANSWER}],
        [{**REQUEST, "choices": ANSWER["choices"], "id": "chatcmpl-1"}],
        [BATCH, BATCH_OUTPUT],
        [BATCH_OUTPUT, BATCH],
    ):
        [kept] = read_inputs(write(path, content), reading=Reading(answers="keep")).inputs
        assert kept.conversation[-1] == {"role": "assistant", "content": "Bye."}
        assert len(kept.conversation) == 5
        assert kept.id in ("chatcmpl-1", "b-1")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"response": {"status_code": 500, "body": {"error": {"message": "no"}}}}, "status 500"),
        ({"response": {"choices": [{"message": {"role": "assistant", "content": "a"}}] * 2}},
         "2 answers are logged"),
        ({"response": {"choices": [{"finish_reason": "length",
                                    "message": {"role": "assistant", "content": "a"}}]}},
         "the token limit cut the answer"),
        ({"response": {"choices": [{"message": {"role": "assistant", "content": None,
                                                "refusal": "No."}}]}}, "the answer is a refusal"),
        ({"error": {"message": "no"}, "response": None}, "the request failed"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_asked_for_and_never_kept(tmp_path, answer, says):
    path = write(tmp_path / "a.jsonl", [{"request": {"messages": LOG[:1]}, **answer}])
    given = read_inputs(path)
    assert given.texts == ("where is order 7?",)
    assert "1 logs have no answer that is whole; they are asked again" in given.notes[-1]
    with pytest.raises(GenPIError, match=says):
        read_inputs(path, reading=Reading(answers="keep"))


def test_parts_and_thoughts_and_vendors_keys(tmp_path):
    log = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "reasoning": "hm", "logprobs": {"content": [1]}},
        {"role": "user", "content": "d"},
    ]
    given = read_inputs(write(tmp_path / "a.jsonl", [{"messages": log, "created": 3}]))
    assert given.inputs[0].text == "a\nb"
    assert given.inputs[1].request[1] == {
        "role": "assistant", "content": "c", "reasoning_content": "hm"
    }  # fmt: skip
    assert given.notes == (f"{tmp_path / 'a.jsonl'}: ignored the keys created, logprobs.",)


ONE = {"role": "user", "content": "x"}
BROKEN = [
    ("a.csv", "a,b\n1,2\n", "has the columns a, b, and none named `input`", "--input-column NAME"),
    ("a.csv", "id;input\n1;x\n", "semicolons", "commas"),
    ("a.csv", 'input\n"x\n', "can't be read as a table: unexpected end", "in quotes"),
    ("a.csv", "id,input\n1,x,y\n2,z\n", "row 1: has 3 cells, and the header names 2", "Correct"),
    ("a.csv", "id,input\n1,x\n2,\n", "row 2: `input` is empty", "Correct them"),
    ("a.csv", "a,a\n1,2\n", "two columns named a", "differently"),
    ("a.tsv", "input\tx\n\n", "holds no inputs", "one a line"),
    ("a.parquet", b"PAR1", "can't be read as Parquet", "again"),
    ("a.jsonl", [{"input": "x", "messages": [ONE]}], "it has `input` and `messages`",
     "--input-column"),
    ("a.jsonl", [[ONE]], "line 1: a list, not an object", '{"messages": [...]}'),
    ("a.json", json.dumps([ONE]), "item 1: it is one message, not a log", '{"messages": [...]}'),
    ("a.jsonl", [{"prompt": "x"}], "no messages; its keys are prompt", "--input-column"),
    ("a.jsonl", [{"messages": [{"role": "user"}]}], "`messages[0].content` is nothing", "string"),
    ("a.jsonl", [{"messages": [{"role": "bot", "content": "x"}]}], "the role 'bot'", "roles"),
    ("a.jsonl", [{"messages": [ONE, ONE]}], "the roles of `messages` are user, user", "its order"),
    ("a.jsonl", [{"messages": [{**ONE, "mood": "good"}]}], "`messages[0].mood` is not one of",
     "take the field out"),
    ("a.jsonl", [{"messages": [{"role": "system", "content": "x"}]}], "nobody asks", "take"),
    ("a.jsonl", [{"messages": [{**ONE, "content": [{"type": "image_url", "image_url": "u"}]}]}],
     "`messages[0].content[0]` is an image", "take the log out"),
    ("a.jsonl", [{"request": [ONE, {"role": "assistant", "content": "y"}]}],
     "the roles of `messages` are user, assistant", "it ends with the user's"),
    ("a.jsonl", [{"messages": [ONE], "images": ["i.png"]}], "the key `images` is not read", "take"),
    ("a.jsonl", [{"conversations": [{"from": "alien", "value": "x"}]}], "from 'alien'", "human"),
    ("a.jsonl", [{"conversations": [ONE]}], "has no `from`; its keys are role, content",
     "`messages`"),
    ("a.jsonl", [{"conversations": [SHAREGPT[0], SHAREGPT[2]]}], "is a result (observation)",
     "`messages`"),
    ("a.jsonl", [{"conversations": [SHAREGPT[0], {"from": "function_call", "value": "see"}]}],
     "`conversations[1].value` is no valid JSON", "correct"),
    ("a.jsonl", [{"conversations": [SHAREGPT[0], {"from": "function_call", "value": json.dumps(
        [{"name": "a"}, {"name": "b"}])}, *SHAREGPT[2:]]}], "fewer results than calls", "messages"),
    ("a.jsonl", [{"request": {"input": "x"}}], "`request` holds no `messages`; its keys are input",
     "Responses API"),
    ("a.jsonl", [{**BATCH, "url": "/v1/embeddings"}], "a request to /v1/embeddings", "take it out"),
    ("a.jsonl", [BATCH_OUTPUT], "a batch's answer to the request 'b-1'", "cat batch.jsonl"),
    ("a.jsonl", [{"request": REQUEST, "response": [{"choices": []}]}], "without `choices`",
     "pieces of a stream"),
    ("a.jsonl", [{"messages": [ONE], "tools": [{"type": "web_search"}]}], "is no tool's schema",
     "function"),
    ("a.jsonl", [{"id": "a", "input": "x"}, {"id": "a", "input": "y"}],
     "line 1 and line 2 are different inputs with the id 'a'", "an `id` of its own"),
    ("a.jsonl", [{"messages": "hello"}], "`messages` is a text, and not the JSON", "in `input`"),
    ("a.jsonl", [{"request": "7"}], "`request` is a text, and not the JSON", "--input-column"),
    ("a.jsonl", [{"request": {"messages": "x"}}], "`messages` is a text", "in `input`"),
    ("a.csv", "messages\nx\n", "row 1: `messages` is a text", "in `input`"),
    ("a.csv", "body\n{}\n", "row 1: `body` holds no `messages`", "has `messages`"),
    ("a.jsonl", [{"messages": "{}"}], "`messages` holds no `messages`", "has `messages`"),
    ("a.jsonl", [{"id": ["a"], "input": "x"}], "the key `id` is a list", "text or a number"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "says", "cure"), BROKEN)
def test_what_is_broken_is_named_with_its_place_and_a_cure(tmp_path, name, content, says, cure):
    path = write(tmp_path / name, content)
    with pytest.raises(GenPIError) as caught:
        read_inputs(path)
    assert says in caught.value.cause
    assert str(path) in caught.value.cause
    assert cure.lower() in caught.value.cure.lower()


@pytest.mark.parametrize(
    ("name", "reading", "says"),
    [
        ("a.txt", Reading("question"), "text, one input a line, and has no columns"),
        ("a.txt", Reading(split="test"), "has no splits"),
        ("a.csv", Reading("question"), "no column 'question'; its columns are x"),
        ("a.jsonl", Reading("question"), "line 1: no `question`; its keys are input"),
        ("two", Reading(), "has the splits train, test"),
        ("two", Reading(split="dev"), "none named dev"),
        ("nowhere", Reading(), "can't be read"),
    ],
)
def test_options_that_do_not_go_with_a_file_are_refused(tmp_path, name, reading, says):
    write(tmp_path / "a.txt", "x\n")
    write(tmp_path / "a.csv", "x\ny\n")
    write(tmp_path / "a.jsonl", [{"input": "x"}])
    if name == "two":
        saved = datasets.Dataset.from_dict({"input": ["x"]})
        datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(tmp_path / "two")
    with pytest.raises(GenPIError, match=says):
        read_inputs(tmp_path / name, reading=reading)
