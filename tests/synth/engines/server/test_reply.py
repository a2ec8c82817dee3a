"""A server's reply as an answer: everything it tells is kept, what it does not tell is None."""

import asyncio

import pytest

from synth.engines.base import Answer, Message, Request, Sampling, ToolCall, Usage
from synth.engines.server.engine import OpenAIEngine
from synth.errors import RequestError
from tests.synth.server import Reply, serve


def answer_to(reply):
    async def ask(url):
        engine = OpenAIEngine("tiny", url, max_retries=0)
        try:
            return await engine.generate(Request((Message("user", "find a lamp"),), Sampling()))
        finally:
            await engine.close()

    with serve(lambda messages: reply) as server:
        return asyncio.run(ask(server.url))


CALL = {"id": "call-1", "type": "function",
        "function": {"name": "search", "arguments": '{"words": "lamp"}'}}  # fmt: skip


def test_a_plain_answer_tells_its_text_and_its_tokens():
    assert answer_to("a b c") == Answer("a b c", "stop", usage=Usage(3, 3))


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_has_two_names(name):
    answer = answer_to(Reply("search[lamp]", message={name: "They want a lamp."}))
    assert (answer.text, answer.reasoning) == ("search[lamp]", "They want a lamp.")


def test_a_tool_call_is_a_whole_answer():
    answer = answer_to(Reply(None, "tool_calls", {"tool_calls": [CALL]}))
    assert (answer.text, answer.finish) == ("", "stop")
    assert answer.tool_calls == (ToolCall("call-1", "search", '{"words": "lamp"}'),)


def test_arguments_that_are_no_string_become_one():
    call = {"function": {"name": "search", "arguments": {"words": "lämp"}}}
    answer = answer_to(Reply(None, "tool_calls", {"tool_calls": [call]}))
    assert answer.tool_calls == (ToolCall("", "search", '{"words": "lämp"}'),)


def test_a_call_that_names_no_function_is_no_chat_completion():
    with pytest.raises(RequestError, match="not a chat completion"):
        answer_to(Reply(None, "tool_calls", {"tool_calls": [{"id": "x", "function": {}}]}))


def test_tokens_and_their_log_probabilities():
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "</s>", "logprob": 0}]}
    answer = answer_to(Reply("a", choice={"token_ids": [7, 2], "logprobs": logprobs}))
    assert (answer.token_ids, answer.logprobs) == ((7, 2), (-0.5, 0.0))
    answer = answer_to(Reply("a", choice={"logprobs": logprobs}))
    assert (answer.token_ids, answer.logprobs) == (None, (-0.5, 0.0))


@pytest.mark.parametrize("ids", [[7], ["7", "2"], [True, 2], [], "72", None])
def test_log_probabilities_of_other_tokens_are_not_taken(ids):
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "</s>", "logprob": 0}]}
    answer = answer_to(Reply("a", choice={"token_ids": ids, "logprobs": logprobs}))
    if ids == [7]:
        assert (answer.token_ids, answer.logprobs) == ((7,), None)
    else:
        assert (answer.token_ids, answer.logprobs) == (None, (-0.5, 0.0))


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({}, Usage()),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
        ({"prompt_tokens": 5, "completion_tokens": 0}, Usage(5, 0)),
        ({"prompt_tokens": "5", "completion_tokens": 2}, Usage(None, 2)),
        ({"prompt_tokens": 90, "completion_tokens": 2,
          "prompt_tokens_details": {"cached_tokens": 80}}, Usage(90, 2)),
        # A cache that is counted apart.
        ({"prompt_tokens": 10, "completion_tokens": 2,
          "prompt_tokens_details": {"cached_tokens": 80}}, Usage(90, 2)),
    ],
)  # fmt: skip
def test_tokens_that_are_not_counted_are_none(told, usage):
    assert answer_to(Reply("a", usage=told)).usage == usage
