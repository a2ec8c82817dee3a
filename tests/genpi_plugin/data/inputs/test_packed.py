"""Logs that are stored as the text of their JSON."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from genpi_plugin.data.inputs.given import Reading
from genpi_plugin.data.inputs.lines import read_inputs
from tests.genpi_plugin.data.inputs.test_formats import (
    ANSWER,
    BATCH,
    LOG,
    REQUEST,
    ROLES,
    SHAREGPT,
    write,
)

PACKED = json.dumps(LOG)
ONE_TEXT = json.dumps({"messages": LOG, "model": "m"})


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.jsonl", [{"messages": PACKED}], ""),
        ("a.jsonl", [{"conversations": json.dumps(SHAREGPT)}], ""),
        ("a.jsonl", [{"request": ONE_TEXT, "response": json.dumps(ANSWER)}], ""),
        ("a.jsonl", [{"request": {"body": ONE_TEXT},
                      "response": {"body": json.dumps(ANSWER)}}], ""),
        ("a.jsonl", [{**BATCH, "body": ONE_TEXT}], ""),
        ("a.jsonl", [{"input": "y", "messages": PACKED}], "messages"),
        ("a.jsonl", [{"input": "y", "request": REQUEST}], "request"),
        ("a.csv", f"messages\n{quoted(PACKED)}\n", ""),
        ("a.csv", f"id,messages,input\n7,{quoted(PACKED)},y\n", "messages"),
        ("a.parquet", {"messages": [PACKED]}, ""),
    ],
)  # fmt: skip
def test_a_log_that_is_the_text_of_its_json_is_a_log(tmp_path, name, content, column):
    if isinstance(content, dict):
        pa.parquet.write_table(pa.Table.from_pydict(content), tmp_path / name)
    else:
        write(tmp_path / name, content)
    given = read_inputs(tmp_path / name, reading=Reading(column))
    assert [[turn["role"] for turn in one.request] for one in given.inputs] == ROLES
    if "response" in str(content):
        [kept] = read_inputs(tmp_path / name, reading=Reading(answers="keep")).inputs
        assert kept.conversation[-1] == {"role": "assistant", "content": "Bye."}


def test_a_row_s_request_as_json_is_its_request(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"input": "thanks", "request": PACKED}])
    assert [one["role"] for one in read_inputs(path).inputs[0].request] == ROLES[2]


def test_texts_that_are_logs_are_said_to_be_sent_as_they_stand(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"chat": PACKED}, {"chat": ONE_TEXT}])
    given = read_inputs(path, reading=Reading("chat"))
    assert given.texts == (PACKED, ONE_TEXT)
    assert "the JSON of a log, and is sent as it stands" in given.notes[-1]
    assert not read_inputs(write(path, [{"chat": "[1]"}]), reading=Reading("chat")).notes
