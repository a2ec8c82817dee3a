"""Answers on disk: what the first versions wrote is read, and goes on being written."""

import asyncio
import json
import sqlite3

import pytest

from synth.engines.base import Answer, Message, Request, Sampling, ToolCall, Usage
from synth.store.answers import answer_record, to_answer
from synth.store.cached import cached
from synth.store.fingerprint import request_key
from synth.store.store import Store
from tests.synth.scripted import Scripted

ASK = Request((Message("user", "find a lamp"),), Sampling(max_tokens=9))
FIRST_VERSIONS_KEY = "5483570cc9690e0cabcb6754a4cee9b15387a6916e3e8689b33d8f5a59386bdb"
FIRST_KEYS = ("text", "finish", "prompt_tokens", "completion_tokens")
FULL = Answer(
    "search[lamp]",
    "stop",
    reasoning="They want a lamp.",
    tool_calls=(ToolCall("call-1", "search", '{"words": "lamp"}'),),
    token_ids=(5, 6, 2),
    logprobs=(-0.1, 0.0, -2.5),
    usage=Usage(12, 2),
)


def nothing(*_):
    pass


def written_by_the_first_version(path, key, record):
    Store(path).close()
    store = sqlite3.connect(path)
    store.execute("INSERT INTO answers VALUES (?, ?, 'outputs', 0.0)", (key, json.dumps(record)))
    store.commit()
    store.close()


def test_a_store_of_the_first_version_is_read_and_nothing_is_asked_again(tmp_path):
    path, engine = tmp_path / "store.sqlite", Scripted()
    old = dict(zip(FIRST_KEYS, ("search[lamp]", "length", 12, 3), strict=True))
    written_by_the_first_version(path, request_key(engine.identity, ASK), old)
    store = Store(path)
    answer = asyncio.run(cached(engine, store, "outputs", nothing)(ASK))
    store.close()
    assert answer == Answer("search[lamp]", "length", usage=Usage(12, 3))
    assert not engine.asked


def test_the_key_of_a_request_is_what_it_was():
    """Printed by the version before arguments belonged to a stage."""
    assert request_key({"model": "m"}, ASK) == FIRST_VERSIONS_KEY
    with_own = Request(ASK.messages, Sampling(max_tokens=9, request_args={"top_k": 1}))
    others = [
        with_own,
        Request(ASK.messages, Sampling(max_tokens=9, request_args={"top_k": 2})),
        Request(ASK.messages, Sampling(max_tokens=9, chat_template_kwargs={"top_k": 1})),
    ]
    keys = {request_key({"model": "m"}, request) for request in (ASK, *others)}
    assert len(keys) == 4
    assert len({ASK, *others}) == 4  # a request is a key in a dict, too


@pytest.mark.parametrize(
    ("counts", "usage"),
    [((0, 0), Usage()), ((7, 0), Usage(7, 0)), ((None, None), Usage()), ((7, None), Usage(7))],
)
def test_a_zero_stood_for_what_was_not_told(counts, usage):
    record = dict(zip(FIRST_KEYS, ("x", "stop", *counts), strict=True))
    assert to_answer(record).usage == usage


@pytest.mark.parametrize("answer", [FULL, Answer("", "stop"), Answer("x", "length", None, ())])
def test_what_is_known_comes_back_and_the_first_keys_are_there(tmp_path, answer):
    store = Store(tmp_path / "store.sqlite")
    asyncio.run(store.put("key", answer, "outputs"))
    assert store.get("key") == answer
    [(text,)] = store._run("SELECT answer FROM answers").fetchall()
    store.close()
    assert tuple(json.loads(text))[:4] == FIRST_KEYS


def test_nothing_is_written_of_what_is_not_known():
    assert answer_record(Answer("x", "stop", usage=Usage(1, 1))) == dict(
        zip(FIRST_KEYS, ("x", "stop", 1, 1), strict=True)
    )


def test_a_stored_answer_to_a_part_of_its_request_is_asked_again(tmp_path, caplog):
    path, engine = tmp_path / "store.sqlite", Scripted()
    long = Request((Message("user", "find a red lamp, please. " * 3000),), Sampling())
    old = dict(zip(FIRST_KEYS, ("search[lamp]", "stop", 2048, 3), strict=True))
    written_by_the_first_version(path, request_key(engine.identity, long), old)
    engine.script = lambda messages, seed: Answer("search[red lamp]", "stop", usage=Usage(20000, 4))
    store = Store(path)
    for _ in range(2):
        answer = asyncio.run(cached(engine, store, "outputs", nothing)(long))
        assert answer.text == "search[red lamp]"
    store.close()
    assert len(engine.asked) == 1
    assert "read 2,048 tokens" in caplog.text
