"""Tokens that a server tells: kept as in process, compared with the requests that are trained."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from synth.engines.base import Message, Request, Sampling
from synth.engines.chat import Chat
from synth.engines.models import ModelSpec, model_specs
from synth.engines.server.engine import OpenAIEngine
from synth.engines.server.tokens import DIFFERING
from synth.errors import EngineError, SynthError
from synth.quality.thoughts import thoughts_apart
from synth.stages.turns import turn_of
from tests.synth.engines.asking import PROMPT, answers, ask
from tests.synth.engines.local.models import engine as local_engine
from tests.synth.engines.server.tiny_server import serve_tiny
from tests.synth.server import Failure, Reply, serve
from tests.tiny import save_tiny

TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
ASKED = [
    ask("a red shirt", prompt=PROMPT),
    ask("hello"),
    Request((*PROMPT, Message("user", "a lamp")), Sampling(max_tokens=9), tools=json.dumps([TOOL])),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"), "tools")


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def on(server, folder, **more) -> OpenAIEngine:
    return OpenAIEngine("served", server.url, tokenizer=str(folder), max_retries=0, **more)


def test_the_tokens_are_those_of_the_engine_in_this_process(folder, tokenizer):
    here = answers(local_engine(folder), ASKED)
    with serve_tiny(tokenizer) as server:
        there = answers(on(server, folder), ASKED, one_by_one=True)
    assert [answer.token_ids for answer in there] == [answer.token_ids for answer in here]
    assert all(len(answer.token_ids) > 5 for answer in here)
    assert {answer.tokenizer for answer in there} == {here[0].tokenizer}
    assert [answer.usage for answer in there] == [
        replace(answer.usage, completion_tokens=len(answer.token_ids)) for answer in here
    ]
    # What the request was read as is compared and not kept.
    assert "prompt_token_ids" not in repr(there)
    assert all(body["return_token_ids"] is True for body in server.requests)


def test_without_a_tokenizer_no_tokens_are_asked_for_or_kept(folder, tokenizer):
    with serve_tiny(tokenizer) as server:
        plain = OpenAIEngine("served", server.url)
        [answer] = answers(plain, ASKED[:1])
        assert (answer.token_ids, answer.tokenizer) == (None, None)
        assert "return_token_ids" not in server.requests[0]
        # Asked for by the user, and of no known tokenizer: no turn has them.
        asking = OpenAIEngine("served", server.url, request_args={"return_token_ids": True})
        [answer] = answers(asking, ASKED[:1])
        assert answer.token_ids
        assert turn_of(answer).token_ids is None


def test_a_server_that_refuses_the_field_is_asked_without_it_from_then_on(folder):
    refused = Failure(400, {"error": {"message": "Unrecognized request argument"}})
    with serve(lambda messages: "a lamp", models=None) as server:
        handle = server.handle
        tried = []

        def strict(body, key):
            tried.append("return_token_ids" in body)
            return refused if tried[-1] else handle(body, key)

        server.handle = strict
        got = answers(on(server, folder), [ask("hello"), ask("you"), ask("he")], one_by_one=True)
    assert [answer.text for answer in got] == ["a lamp"] * 3
    assert tried == [True, False, False, False]


def test_what_is_refused_for_another_reason_is_judged_by_that(folder):
    words = {"error": {"message": "temperature must not be 0"}}
    with serve(lambda messages: "a lamp", models=None) as server:
        server.always = Failure(400, words)
        with pytest.raises(SynthError, match=r"refused by the server \(400\)"):
            answers(on(server, folder), [ask("hello")])
        server.always = None
        answers(on(server, folder), [ask("hello")])
    assert server.requests[-1]["return_token_ids"] is True


def test_a_server_that_tells_no_tokens_is_not_asked_again(folder):
    with serve(lambda messages: Reply("a lamp", usage={}), models=None) as server:
        got = answers(on(server, folder), [ask("hello"), ask("you")], one_by_one=True)
    assert [answer.token_ids for answer in got] == [None, None]
    assert ["return_token_ids" in body for body in server.requests] == [True, False]


def test_openais_own_server_is_not_asked(folder):
    engine = OpenAIEngine("m", "https://api.openai.com/v1", tokenizer=str(folder))
    assert not engine._extras.asks_tokens("https://api.openai.com/v1", {})
    assert engine._extras.asks_tokens("http://localhost:8000/v1", {})
    assert not engine._extras.asks_tokens("http://localhost:8000/v1", {"return_token_ids": False})


SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
READ = {
    "a default system prompt": (
        lambda ids, of: of(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n") + ids,
        "<|im_start|>system",
    ),
    "a cut prompt": (lambda ids, of: ids[7:], "Token 0 is"),
    "a request without its end": (lambda ids, of: ids[:-3], "none (behind "),
    "a date": (lambda ids, of: ids[:3] + of("Today is 26 Jul 2024.") + ids[3:], "26 Jul"),
}


@pytest.mark.parametrize("how", READ)
def test_a_request_that_is_read_otherwise_stops_with_both_sides(folder, tokenizer, how):
    changed, shown = READ[how]

    def of(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def told(reply):
        ids = changed(reply.whole["prompt_token_ids"], of)
        return replace(reply, whole={"prompt_token_ids": ids})

    with serve_tiny(tokenizer, told) as server, pytest.raises(EngineError) as caught:
        answers(on(server, folder), [ask("a red shirt")])
    assert f"{server.url} reads a request otherwise than it will be trained" in caught.value.cause
    assert str(folder) in caught.value.cause
    assert shown in caught.value.cause
    assert "--chat-template" in caught.value.cure
    assert "date_string" in caught.value.cure


def test_tokens_of_another_tokenizer_stop_with_the_cure(folder, tokenizer):
    def told(reply):
        ids = [(one + 40) % 400 for one in reply.choice["token_ids"]]
        return replace(reply, choice={"token_ids": ids}, whole={})

    asked = [ask(f"a red shirt {number}") for number in range(DIFFERING)]
    with serve_tiny(tokenizer, told) as server, pytest.raises(EngineError) as caught:
        answers(on(server, folder), asked, one_by_one=True)
    assert server.count == DIFFERING
    assert f"are none of the tokenizer {folder}" in caught.value.cause
    assert "--tokenizer" in caught.value.cure

    def beyond(reply):
        return replace(reply, choice={"token_ids": [151643]}, whole={})

    with serve_tiny(tokenizer, beyond) as server, pytest.raises(EngineError, match="are none of"):
        answers(on(server, folder), [ask("a red shirt")])


def test_another_count_of_the_requests_tokens_is_said_once(folder, caplog):
    reply = Reply("a lamp", usage={"prompt_tokens": 77, "completion_tokens": 2})
    caplog.set_level(logging.WARNING, "synth")
    with serve(lambda messages: reply, models=None) as server:
        answers(on(server, folder), [ask("hello"), ask("you")], one_by_one=True)
    [line] = [r.getMessage() for r in caplog.records if "counts 77 tokens" in r.getMessage()]
    assert str(folder) in line


def test_a_tokenizer_that_is_not_there_says_what_to_name(tmp_path):
    with serve(lambda messages: "a lamp", models=None) as server:
        with pytest.raises(EngineError) as caught:
            answers(on(server, tmp_path), [ask("hello")])
        assert f"The tokenizer {tmp_path} can't be loaded" in caught.value.cause
        assert "--tokenizer" in caught.value.cure


def made(tokenizer, whole, **more):
    """A reply whose tokens are those of a whole text with its end token."""
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return Reply(choice={"token_ids": ids, **more.pop("choice", {})}, usage={}, **more)


THOUGHT = "They want a lamp."
CALL = {"id": "c1", "type": "function",
        "function": {"name": "find", "arguments": '{"what": "lamp"}'}}  # fmt: skip
CALLED = '<tool_call>\n{"name": "find", "arguments": {"what": "lamp"}}\n</tool_call>'
WHOLE = f"<think>\n{THOUGHT}\n</think>\n\nsearch[lamp]"
# An answer's form -> the reply, and its turn: content, thoughts, names of calls.
FORMS = {
    "text alone": (
        lambda t: made(t, " search[lamp]\n", text=" search[lamp]\n"),
        (" search[lamp]\n", "", ()),
    ),
    "reasoning_content": (
        lambda t: made(t, WHOLE, text="search[lamp]", message={"reasoning_content": THOUGHT}),
        ("search[lamp]", THOUGHT, ()),
    ),
    "reasoning": (
        lambda t: made(t, WHOLE, text="search[lamp]", message={"reasoning": THOUGHT}),
        ("search[lamp]", THOUGHT, ()),
    ),
    "thoughts in the content": (
        lambda t: made(t, WHOLE, text=WHOLE),
        ("search[lamp]", THOUGHT, ()),
    ),
    "their end alone": (
        lambda t: made(t, WHOLE[8:], text=WHOLE[8:]),
        ("search[lamp]", THOUGHT, ()),
    ),
    "parts": (
        lambda t: made(
            t,
            WHOLE,
            text=[
                {"type": "thinking", "thinking": THOUGHT},
                {"type": "text", "text": "search[lamp]"},
            ],
        ),
        ("search[lamp]", THOUGHT, ()),
    ),
    "calls": (
        lambda t: made(t, CALLED, text=None, finish="tool_calls", message={"tool_calls": [CALL]}),
        ("", "", ("find",)),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_an_answer_keeps_its_tokens(folder, tokenizer, form):
    reply, (content, thoughts, calls) = FORMS[form]
    reply = reply(tokenizer)
    with serve(lambda messages: reply, models=None) as server:
        [answer] = answers(on(server, folder), [ask("a lamp")])
    turn = turn_of(thoughts_apart(answer))
    assert turn.token_ids == tuple(reply.choice["token_ids"])
    assert turn.tokenizer
    assert turn.message.content == content
    assert turn.message.reasoning_content == thoughts
    assert tuple(call.name for call in turn.message.tool_calls) == calls


def test_tokens_without_their_end_are_left_out_and_that_is_said(folder, tokenizer, caplog):
    ids = tokenizer("search[lamp]", add_special_tokens=False)["input_ids"]
    reply = Reply("search[lamp]", choice={"token_ids": ids}, usage={})
    caplog.set_level(logging.WARNING, "synth")
    with serve(lambda messages: reply, models=None) as server:
        [answer] = answers(on(server, folder), [ask("a lamp")])
    assert (answer.text, answer.token_ids) == ("search[lamp]", None)
    assert "leaves the end token out" in caplog.text


# What a server takes out of an answer's text: the whole as sampled, and the reply's fields.
TAKEN_OUT = {
    "special tokens": ("A red lamp<|im_start|>user, is it?", {"text": "A red lampuser, is it?"}),
    "half a character": ("A red HALF lamp", {"text": "A red lamp"}),
    "half a character at its end": ("A red lamp HALF", {"text": "A red lamp"}),
    "marks between thoughts": (
        "<think>\nThey want a lamp.\n</think>\n\n<think>\nA red one.\n</think>\n\nsearch[lamp]",
        {"text": "search[lamp]",
         "message": {"reasoning_content": "They want a lamp.\nA red one."}},
    ),
    "another text": ("A red lamp", {"text": "A blue desk"}),
}  # fmt: skip


def taken_out(tokenizer, what):
    whole, more = TAKEN_OUT[what]
    ids = []
    for place, part in enumerate(whole.split("HALF")):
        half = tokenizer("\u00e9", add_special_tokens=False)["input_ids"][:1] if place else []
        ids += half + tokenizer(part, add_special_tokens=False)["input_ids"]
    assert ("HALF" in whole) == ("\ufffd" in tokenizer.decode(ids))
    return Reply(choice={"token_ids": [*ids, tokenizer.eos_token_id]}, usage={}, **more)


@pytest.mark.parametrize("what", TAKEN_OUT)
def test_an_answer_that_is_not_its_tokens_text_loses_them_and_the_run_goes_on(
    folder, tokenizer, caplog, what
):
    odd, whole = taken_out(tokenizer, what), made(tokenizer, "search[lamp]", text="search[lamp]")
    replies = [odd, odd, whole, *[odd] * (DIFFERING if what == "another text" else 0)]
    asked = [ask(f"a lamp {number}") for number in range(len(replies))]
    caplog.set_level(logging.WARNING, "synth")
    with serve(lambda messages: replies[server.count - 1], models=None) as server:
        got = answers(on(server, folder), asked, one_by_one=True)
    assert [one.text for one in got] == [one.text for one in replies]
    assert [bool(one.token_ids) for one in got] == [one is whole for one in replies]
    assert {one.tokenizer for one in got if not one.token_ids} == {None}
    assert caplog.text.count("tells tokens of an answer that are not its text's") == 1


@pytest.mark.parametrize("what", [name for name in TAKEN_OUT if name != "another text"])
def test_a_server_that_takes_something_out_of_each_answer_is_no_other_tokenizer(
    folder, tokenizer, what
):
    odd = taken_out(tokenizer, what)
    asked = [ask(f"a lamp {number}") for number in range(DIFFERING + 1)]
    with serve(lambda messages: odd, models=None) as server:
        got = answers(on(server, folder), asked, one_by_one=True)
    assert [one.token_ids for one in got] == [None] * len(asked)


@pytest.mark.parametrize("form", FORMS)
def test_tokens_that_are_kept_are_taken_when_they_are_trained(folder, tokenizer, form):
    reply = FORMS[form][0](tokenizer)
    with serve(lambda messages: reply, models=None) as server:
        [answer] = answers(on(server, folder), [ask("a lamp")])
    turn = turn_of(thoughts_apart(answer))
    trained = Chat(tokenizer, {}, "m").answer_ids(ask("a lamp"), turn.message, turn.token_ids)
    assert trained == list(turn.token_ids)


def specs(model, **more):
    return model_specs(model, None, ("http://localhost:1/v1",), "OPENAI_API_KEY", None, None, (),
                       None, "auto", "{}", 9.0, **more)  # fmt: skip


def test_the_tokenizer_is_the_models_where_that_is_here_and_else_the_one_named(folder):
    target, generator = specs(str(folder))
    assert target.known_tokenizer == str(folder)
    assert target == generator
    assert specs("served")[0].known_tokenizer == ""
    named, _ = specs("served", tokenizer=str(folder))
    assert named.known_tokenizer == str(folder)
    assert named.connection_settings()["tokenizer"] == str(folder)
    assert "tokenizer" not in named.identity_settings()
    assert ModelSpec(str(folder), "openai", tokenizer="").known_tokenizer == ""
    with pytest.raises(SynthError, match="--tokenizer goes with --engine openai"):
        model_specs(str(folder), None, (), "OPENAI_API_KEY", None, None, (), None, "auto", "{}",
                    9.0, tokenizer="x")  # fmt: skip
