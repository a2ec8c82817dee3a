"""A server: what it is asked, what comes back, and what is said on failure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from synth.engines.base import Answer, Message, Sampling, Usage
from synth.engines.server.body import BodyFormat
from synth.engines.server.engine import OpenAIEngine
from synth.engines.server.extras import Extras
from synth.errors import EngineError, RequestError, RowError
from tests.synth.engines.asking import PROMPT, answers, ask, echo
from tests.synth.server import Failure, Reply, ScriptedServer, serve


def on(server: ScriptedServer, **arguments) -> OpenAIEngine:
    return OpenAIEngine("tiny", server.url, **arguments)


def test_server_gets_the_request_and_its_reply_comes_back():
    with serve(echo) as server:
        request = ask("a red shirt", Sampling(0.7, 0.9, 64), seed=5, prompt=PROMPT)
        [answer] = answers(on(server), [request])
    assert (answer.text, answer.finish) == ("You said: a red shirt", "stop")
    assert answer.usage.completion_tokens == 5
    [body] = server.requests
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][0]["content"] == PROMPT[0].content
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.7, 0.9, 64)
    assert body["seed"] == 5


def test_greedy_request_sends_no_seed_and_no_top_p():
    with serve(echo) as server:
        answers(on(server), [ask("hello")])
    assert server.requests[0]["temperature"] == 0
    assert not {"seed", "top_p"} & set(server.requests[0])


def test_cut_and_empty_answers_are_told():
    with serve(lambda _: Reply("half an ans", "length")) as server:
        assert answers(on(server), [ask("hello")])[0].finish == "length"
    with serve(lambda _: None) as server:
        assert answers(on(server), [ask("hello")])[0] == Answer("", "stop", usage=Usage(1, 0))


@pytest.mark.parametrize("finish", ["abort", "error", "insufficient_system_resource"])
def test_an_answer_that_was_broken_off_is_asked_for_again(finish, monkeypatch):
    monkeypatch.setattr("synth.engines.endpoints.FIRST_PAUSE", 0.005)
    parts = iter([Reply("Thought: I should sea", finish), Reply("search[lamp]", "stop")])
    with serve(lambda messages: next(parts)) as server:
        [answer] = answers(on(server), [ask("a lamp")])
        assert (answer.text, server.count) == ("search[lamp]", 2)
    always = Reply("Thought: I should sea", finish)
    told = pytest.raises(RequestError, match=f"broke off an answer .{finish}.")
    with serve(lambda messages: always) as server, told:
        answers(on(server, max_retries=1), [ask("a lamp")])


def test_a_limit_under_another_name_is_taken_up():
    words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    refused = Failure(400, {"error": {"message": words}})
    with serve(echo) as server:
        handle = server.handle
        server.handle = lambda body, key: refused if "max_tokens" in body else handle(body, key)
        got = answers(on(server), [ask("hello"), ask("you")])
        assert {answer.text for answer in got} == {"You said: hello", "You said: you"}
        assert [body["max_completion_tokens"] for body in server.requests] == [24, 24]
        assert not [body for body in server.requests if "max_tokens" in body]


def test_fields_of_the_users_own_go_with_each_request_and_tell_answers_apart():
    own = {"reasoning_effort": "low", "temperature": None}
    with serve(echo) as server:
        engine = on(server, request_args=own, chat_template_kwargs={"enable_thinking": False})
        answers(engine, [ask("hello")])
        [body] = server.requests
        assert body["reasoning_effort"] == "low"
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert "temperature" not in body
        assert engine.identity == {
            "model": "tiny",
            "chat_template_kwargs": '{"enable_thinking": false}',
            "request_args": '{"reasoning_effort": "low", "temperature": null}',
        }
        assert on(server).identity == {"model": "tiny"}


def test_concurrency_is_kept():
    with serve(echo, delay=0.03) as server:
        got = answers(on(server, concurrency=3), [ask(str(i)) for i in range(12)])
    assert [answer.text for answer in got] == [f"You said: {i}" for i in range(12)]
    assert server.most_at_once == 3


def test_key_is_read_from_the_named_variable(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret-1")
    with serve(echo) as server:
        answers(on(server, api_key_env="MY_KEY"), [ask("hello")])
        answers(on(server, api_key_env="NOT_SET_ANYWHERE"), [ask("hello")])
    assert server.keys == ["Bearer secret-1", "Bearer none"]


def test_no_key_and_no_server_of_ones_own(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError, match="OPENAI_API_KEY is not set"):
        OpenAIEngine("gpt")


@pytest.mark.parametrize("failure", [Failure(503), Failure(429), Failure(0)])
def test_passing_failures_are_asked_again(failure):
    failure.headers["Retry-After"] = "0.01"
    with serve(echo) as server:
        server.failures = [failure, failure]
        [answer] = answers(on(server), [ask("hello")])
    assert answer.text == "You said: hello"
    assert server.refused == 2


def failed(server: ScriptedServer, model: str = "tiny", **arguments) -> Exception:
    engine = OpenAIEngine(model, server.url, max_retries=0, patience=0, **arguments)
    with pytest.raises((EngineError, RowError)) as caught:
        answers(engine, [ask("hello")])
    return caught.value


def test_no_server_names_the_url():
    with serve(echo) as server:
        url = server.url
    with pytest.raises(EngineError) as caught:
        answers(OpenAIEngine("tiny", url, max_retries=0), [ask("hello")])
    assert f"no server at {url}" in caught.value.cause
    assert "--base-url" in caught.value.cure


def test_slow_server_is_told_from_none():
    with serve(echo, delay=1) as server:
        error = failed(server, timeout=0.1)
    assert isinstance(error, EngineError)
    assert "did not answer within" in error.cause


def test_unknown_model_names_those_there_are():
    with serve(echo, models=["tiny", "small"]) as server:
        error = failed(server, model="tinny")
    assert isinstance(error, EngineError)
    assert "'tinny'" in error.cause
    assert "tiny, small" in error.cure


def test_wrong_path_is_told_from_a_wrong_model():
    with serve(echo) as server:
        engine = OpenAIEngine("tiny", server.url.removesuffix("/v1"), max_retries=0)
        with pytest.raises(EngineError) as caught:
            answers(engine, [ask("hello")])
    assert "ends in /v1" in caught.value.cure


@pytest.mark.parametrize(
    ("status", "words", "told"),
    [
        (401, "Incorrect API key provided", "refused the API key in OPENAI_API_KEY"),
        (429, "You exceeded your current quota", "You exceeded your current quota"),
        (500, "CUDA error", "CUDA error"),
        (402, "Add credits", "the account is used up: Add credits"),
    ],
)
def test_lasting_failures_stop_the_run_with_the_servers_words(status, words, told):
    with serve(echo) as server:
        server.always = Failure(status, {"error": {"message": words}})
        error = failed(server)
    assert isinstance(error, EngineError)
    assert told in error.cause
    assert error.cure


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Too many.", "code": "context_length_exceeded"}},
        {"error": {"message": "This model's maximum context length is 4096 tokens. However, ..."}},
        {"error": {"message": "the request exceeds the available context size", "code": 400}},
    ],
)
def test_too_long_a_request_rejects_its_row_only(body):
    with serve(echo) as server:
        server.always = Failure(400, body)
        error = failed(server)
    assert isinstance(error, RowError)
    assert error.reason == "longer than the model's context"


THOUGHT = "They want a lamp."
WITH_THOUGHTS = replace(
    ask("and a desk"),
    messages=(
        Message("user", "a lamp"),
        Message("assistant", "search[lamp]", reasoning_content=THOUGHT),
        Message("user", "and a desk"),
    ),
)


def test_thoughts_of_a_history_are_sent_under_both_names_that_servers_read():
    with serve(echo) as server:
        answers(on(server), [WITH_THOUGHTS])
    user, agent, last = server.requests[0]["messages"]
    assert agent == {
        "role": "assistant",
        "content": "search[lamp]",
        "reasoning_content": THOUGHT,
        "reasoning": THOUGHT,
    }
    assert "reasoning" not in {*user, *last}


def test_openais_own_server_is_sent_thoughts_under_one_name():
    form = BodyFormat("m")
    body = form.body(WITH_THOUGHTS, "max_tokens")
    assert Extras(form, "", own=False).sent("https://api.openai.com/v1", body) == body
    assert Extras(form, "", own=True).sent("https://api.openai.com/v1", body) == body
    assert Extras(form, "", own=True).sent("http://localhost:8000/v1", body) != body


def test_a_server_that_refuses_the_second_name_is_sent_one_from_then_on():
    refused = Failure(400, {"error": {"message": "property 'reasoning' is unsupported"}})
    tried = []

    def fault(messages):
        tried.append(["reasoning" in turn for turn in messages].count(True))
        return refused if tried[-1] else None

    with serve(echo) as server:
        server.fault = fault
        got = answers(on(server), [WITH_THOUGHTS, replace(WITH_THOUGHTS, seed=1)], one_by_one=True)
    assert [answer.text for answer in got] == ["You said: and a desk"] * 2
    assert tried == [1, 0, 0]
