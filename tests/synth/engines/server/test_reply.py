"""A server's reply as an answer: everything it tells is kept, what it does not tell is None."""

import asyncio

import pytest

from synth.engines.base import Answer, Message, Request, Sampling, ToolCall, Usage
from synth.engines.server.body import BodyFormat
from synth.engines.server.engine import OpenAIEngine
from synth.errors import EngineError, RequestError, RowError
from tests.synth.server import Failure, Reply, serve


def answer_to(reply, more=None):
    async def ask(url):
        engine = OpenAIEngine("tiny", url, max_retries=0, request_args=more)
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


@pytest.mark.parametrize(
    ("given", "text"), [({"words": "lämp"}, '{"words": "lämp"}'), (None, "{}"), ("", "{}")]
)
def test_arguments_that_are_no_string_become_one(given, text):
    call = {"function": {"name": "search", "arguments": given}}
    answer = answer_to(Reply(None, "tool_calls", {"tool_calls": [call]}))
    assert answer.tool_calls == (ToolCall("", "search", text),)


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


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "text", "text": "search["}, {"type": "text", "text": "lamp]"}],
         "search[lamp]", None),
        ([{"type": "output_text", "text": "search[lamp]"}], "search[lamp]", None),
        (["search[", "lamp]"], "search[lamp]", None),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "A lamp."}]},
          {"type": "text", "text": "search[lamp]"}], "search[lamp]", "A lamp."),
        ([{"type": "thinking", "thinking": "A lamp.", "signature": "x"},
          {"type": "text", "text": "search[lamp]"}], "search[lamp]", "A lamp."),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}], "a", ""),
        ([], "", None),
    ],
)  # fmt: skip
def test_a_content_of_parts_is_joined(content, text, reasoning):
    answer = answer_to(Reply(content, usage={}))
    assert (answer.text, answer.reasoning) == (text, reasoning)


def test_thoughts_in_details_are_thoughts():
    details = [{"type": "reasoning.text", "text": "A lamp."}]
    answer = answer_to(Reply("a", message={"reasoning_details": details}))
    assert answer.reasoning == "A lamp."


def test_thoughts_that_are_counted_and_not_shown_are_noted():
    usage = {"prompt_tokens": 5, "completion_tokens": 9,
             "completion_tokens_details": {"reasoning_tokens": 7}}  # fmt: skip
    assert answer_to(Reply("a", usage=usage)).reasoning == ""
    usage["completion_tokens_details"]["reasoning_tokens"] = 0
    assert answer_to(Reply("a", usage=usage)).reasoning is None


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "image_url"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "No."}]},
         "refusal"),
        ({"content": None, "refusal": "I won't."}, "refusal"),
        ({"content": "Here.", "images": [{"type": "image_url"}]}, "images"),
        ({"content": None, "audio": {"data": "x"}}, "audio"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused_by_its_name(message, named):
    with pytest.raises(RowError, match=rf"no text \({named}\)"):
        answer_to(Reply(None, message=message, usage={}))


@pytest.mark.parametrize("finish", ["", None, "eos", "end_turn", "stop_sequence", "STOP",
                                    "FINISH_REASON_STOP", "COMPLETE", "endTurn"])  # fmt: skip
def test_a_whole_answer_has_many_names(finish):
    assert answer_to(Reply("a b", finish)) == Answer("a b", "stop", usage=Usage(3, 2))


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens",
                                    "model_length", "max-tokens", "maxTokens"])  # fmt: skip
def test_a_cut_answer_has_many_names(finish):
    assert answer_to(Reply("a b", finish)).finish == "length"


@pytest.mark.parametrize("finish", ["content_filter", "SAFETY", "guardrail_intervened"])
def test_a_filter_has_many_names(finish):
    with pytest.raises(RowError, match="content filter"):
        answer_to(Reply("a b", finish))


def test_an_unknown_finish_reason_is_named_at_once():
    with pytest.raises(RowError, match=r"ended in an unknown way \(wat\)"):
        answer_to(Reply("a b", "wat"))


@pytest.mark.parametrize(
    ("written", "finish"), [(1023, "stop"), (1024, "length"), (1030, "length")]
)
def test_an_answer_of_as_many_tokens_as_are_allowed_is_cut_whatever_is_said(written, finish):
    usage = {"prompt_tokens": 5, "completion_tokens": written}
    assert answer_to(Reply("a b", "stop", usage=usage)).finish == finish


@pytest.mark.parametrize(
    ("more", "finish"),
    [({"max_tokens": 5}, "length"), ({"max_tokens": None}, "stop"),
     ({"max_tokens": None, "max_completion_tokens": 8}, "length")],
)  # fmt: skip
def test_the_limit_is_that_of_the_request_that_was_sent(more, finish):
    usage = {"prompt_tokens": 5, "completion_tokens": 1024 if finish == "stop" else 8}
    assert answer_to(Reply("a b", "stop", usage=usage), more).finish == finish


def test_a_call_of_the_older_form_is_one():
    call = {"name": "search", "arguments": '{"words": "lamp"}'}
    answer = answer_to(Reply(None, "function_call", {"function_call": call}, usage={}))
    assert answer.tool_calls == (ToolCall("", "search", '{"words": "lamp"}'),)


@pytest.mark.parametrize("finish", ["tool_calls", "TOOL_USE", "function_call"])
def test_a_call_that_is_said_and_not_shown_is_not_lost_unsaid(finish):
    with pytest.raises(RowError, match=rf"called a tool that is not in the answer .{finish}"):
        answer_to(Reply("Let me look.", finish))


def test_a_call_of_a_custom_tool_is_one():
    call = {"id": "1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    answer = answer_to(Reply(None, message={"tool_calls": [call]}))
    assert answer.tool_calls == (ToolCall("1", "sql", "select 1"),)


def test_a_cut_that_only_the_provider_of_a_gateway_tells_is_one():
    answer = answer_to(Reply("a b", choice={"native_finish_reason": "MAX_TOKENS"}))
    assert answer.finish == "length"
    assert answer_to(Reply("a b", choice={"native_finish_reason": None})).finish == "stop"


def test_encrypted_thoughts_are_noted():
    details = [{"type": "reasoning.encrypted", "data": "gAAA"}]
    assert answer_to(Reply("a", message={"reasoning_details": details})).reasoning == ""


@pytest.mark.parametrize("more", [{"n": 2}, {"stream": True}])
def test_arguments_that_ask_for_other_than_one_answer_are_refused(more):
    (name,) = more
    with pytest.raises(EngineError, match=f"arguments hold {name}: "):
        answer_to("a", more)
    with pytest.raises(EngineError, match=f"arguments hold {name}: "):
        BodyFormat("tiny").body(Request((), Sampling(request_args=more)), "max_tokens")
    BodyFormat("tiny", request_args={"n": 1, "stream": False})


def completion(**more):
    message = {"role": "assistant", "content": "half of it"}
    return {"choices": [{"index": 0, "message": message, "finish_reason": None, **more}]}


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({"error": {"message": "flagged", "code": "content_filter"}}, RowError, "content filter"),
        ({"error": {"message": "the context length is 4096", "code": 400}}, RowError, "context"),
        ({"error": {"message": "no credentials", "code": "401"}}, EngineError, "no credentials"),
        ({"error": "it burns"}, RequestError, "error (500): it burns"),
        ({"object": "error", "message": "boom", "code": 400}, RowError, "refused by the server"),
        (completion(error={"message": "upstream died", "code": 502}), RequestError,
         "error (500): upstream died"),
        ({"choices": completion()["choices"] * 2}, RowError, "answered 2 times"),
    ],
)  # fmt: skip
def test_an_error_in_a_reply_of_status_200_is_that_error(body, error, words):
    async def ask(url):
        engine = OpenAIEngine("tiny", url, max_retries=0)
        try:
            return await engine.generate(Request((Message("user", "find a lamp"),), Sampling()))
        finally:
            await engine.close()

    with serve(lambda messages: "a") as server:
        server.always = Failure(200, body)
        with pytest.raises(error) as caught:
            asyncio.run(ask(server.url))
    assert words in str(caught.value)
