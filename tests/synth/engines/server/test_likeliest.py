"""The likeliest tokens that a server tells: read in each form, checked, refused with the cure."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from synth.engines.base import Sampling
from synth.engines.server.engine import OpenAIEngine
from synth.engines.server.raw import look_at
from synth.engines.server.tokens import DIFFERING
from synth.engines.tops import Tops
from synth.errors import EngineError
from tests.synth.engines.asking import PROMPT, answers, ask
from tests.synth.engines.local.models import engine as local_engine
from tests.synth.engines.server.telling import entry, whole_reply
from tests.synth.engines.server.test_tokens import on
from tests.synth.engines.server.tiny_server import serve_tiny
from tests.synth.server import Failure, serve
from tests.tiny import save_tiny

K = 4
PROBES = 2  # requests of one token before the first that asks for log-probabilities


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"), "tools")


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def wanting(text: str, k: int = K, **more):
    return replace(ask(text, **more), logprobs=k)


@pytest.mark.parametrize("form", ["vllm", "llama.cpp"])
def test_they_are_those_of_the_engine_in_this_process(folder, tokenizer, form):
    asked = [wanting("a red shirt", prompt=PROMPT), wanting("hello"), ask("hello you")]
    here = answers(local_engine(folder), asked)
    with serve_tiny(tokenizer, form=form) as server:
        there = answers(on(server, folder), asked, one_by_one=True)
    assert there[-1].tops is here[-1].tops is None
    for ours, theirs in zip(here[:2], there[:2], strict=True):
        assert theirs.token_ids == ours.token_ids
        assert theirs.tops.ids == ours.tops.ids
        nats = [one.tops.arrays()[1].astype(float) for one in (ours, theirs)]
        np.testing.assert_allclose(*nats, rtol=1e-3, atol=1e-3)
    bodies = server.requests[PROBES:]
    assert [body.get("top_logprobs") for body in bodies] == [K, K, None]
    assert [body.get("return_tokens_as_token_ids") for body in bodies] == [True, True, None]


def test_ids_in_the_list_stand_for_token_ids_that_are_not_told(folder, tokenizer):
    def no_ids(reply):
        choice = {name: one for name, one in reply.choice.items() if name != "token_ids"}
        return replace(reply, choice=choice)

    reply = no_ids(whole_reply(tokenizer, "search[lamp]", 5, "llama.cpp"))
    with serve(lambda messages: reply, models=None) as server:
        [answer] = answers(on(server, folder), [wanting("a lamp")])
    ids = [*tokenizer("search[lamp]")["input_ids"], tokenizer.eos_token_id]
    assert list(answer.token_ids) == ids
    assert answer.tops.tokens == len(ids)


def test_a_drawn_token_that_stands_first_is_put_in_its_place(folder, tokenizer):
    reply = whole_reply(tokenizer, "a lamp", 5)
    for place in reply.choice["logprobs"]["content"]:
        drawn = {**place["top_logprobs"][0], "logprob": -4.0}
        place["top_logprobs"] = [drawn, *place["top_logprobs"][1:]]
    with serve(lambda messages: reply, models=None) as server:
        [answer] = answers(on(server, folder), [wanting("a lamp", 5)])
    ids, nats = answer.tops.arrays()
    assert (np.diff(nats.astype(float)) <= 0).all()
    assert (ids[:, 1] == answer.token_ids).all()


def change(reply, **fields):
    """The reply with a changed second entry in the place of the first token."""
    reply.choice["logprobs"]["content"][0]["top_logprobs"][1].update(fields)
    return reply


def of_another(reply):
    reply.choice["logprobs"]["content"][0]["token"] = "token_id:7"
    return reply


def fewer(reply):
    for place in reply.choice["logprobs"]["content"]:
        place["top_logprobs"] = place["top_logprobs"][:2]
    return reply


def shorter(reply):
    reply.choice["logprobs"]["content"].pop()
    return reply


def without(reply):
    return replace(reply, choice={**reply.choice, "logprobs": None})


# What a server tells -> words of the error's cause, and of its cure.
FAULTS = {
    "no number": (lambda r: change(r, logprob=float("nan")), "NaN", "--logprobs-mode"),
    "null": (lambda r: change(r, logprob=None), "no number: None", "--logprobs-mode"),
    "cut off": (lambda r: change(r, logprob=-9999.0), "probability of nothing", "top_p"),
    "minus infinity": (lambda r: change(r, logprob=-float("inf")), "of nothing", "ORIGINAL_LOGP"),
    "beyond one": (lambda r: change(r, logprob=-0.1), "are 1.", "--logprobs-mode"),
    "another token": (of_another, "in the place of", "vLLM"),
    "fewer": (fewer, f"tells 2 log-probabilities at a token, and {K} were", "--logprobs 2"),
    "beyond the tokenizer": (lambda r: change(r, token="token_id:99999"), "99999", "--tokenizer"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_log_probability_of_the_models_own_is_refused(folder, tokenizer, fault):
    changed, cause, cure = FAULTS[fault]
    reply = changed(whole_reply(tokenizer, "search[lamp]", 5))
    with serve(lambda messages: reply, models=None) as server:
        server.answer_body = lambda body: (
            reply if body["max_tokens"] > 1 else whole_reply(tokenizer, "a", 5)
        )
        with pytest.raises(EngineError) as caught:
            answers(on(server, folder), [wanting("a lamp")])
    assert cause in caught.value.cause
    assert server.url in caught.value.cause
    assert cure in caught.value.cure


# What a server leaves out -> how an answer is changed, and what is said of it.
MISSING = {
    "fewer tokens": (shorter, "tokens of an answer of"),
    "none": (without, "no log-probabilities of an answer"),
}


@pytest.mark.parametrize("missing", MISSING)
def test_a_server_that_leaves_them_out_of_every_answer_stops_the_run(
    folder, tokenizer, missing, caplog
):
    changed, cause = MISSING[missing]
    odd, whole = changed(whole_reply(tokenizer, "odd", 5)), whole_reply(tokenizer, "a lamp", 5)
    caplog.set_level(logging.WARNING, "synth")

    def told(server, texts):
        server.answer_body = lambda body: odd if "odd" in str(body) else whole
        got = answers(on(server, folder), [wanting(text) for text in texts], one_by_one=True)
        return [answer.tops.known for answer in got]

    odds = [f"odd {number}" for number in range(DIFFERING)]
    with serve(lambda messages: None, models=None) as server:
        found = told(server, [*odds[1:], "a lamp", *odds])
        assert found == [*[False] * (DIFFERING - 1), True, *[False] * DIFFERING]
        assert caplog.text.count(cause) == 1
        server.requests.clear()
        with pytest.raises(EngineError, match=cause) as caught:
            told(server, odds)
        assert len(server.requests) == PROBES + DIFFERING
    assert server.url in caught.value.cause
    assert "vLLM" in caught.value.cure


def test_the_log_says_each_kind_of_answer_without_them_once(folder, tokenizer, caplog):
    whole = whole_reply(tokenizer, "a lamp", 5)
    caplog.set_level(logging.WARNING, "synth")
    odd = [shorter(whole_reply(tokenizer, "odd", 5)), without(whole)] * 2
    replies = [*[whole] * (PROBES + 1), *odd]
    with serve(lambda messages: replies[server.count - 1], models=None) as server:
        asked = [wanting(f"a lamp {number}") for number in range(len(odd) + 1)]
        answers(on(server, folder), asked, one_by_one=True)
    for what, (_, cause) in MISSING.items():
        assert caplog.text.count(cause) == 1, what


def test_texts_count_where_each_is_one_tokens(folder, tokenizer):
    reply = whole_reply(tokenizer, "search[lamp]", 2, "text")
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "xz"]
    for place, token in zip(reply.choice["logprobs"]["content"], reply.choice["token_ids"],
                            strict=True):  # fmt: skip
        place["top_logprobs"] = [entry(tokenizer, "text", token, -0.5),
                                 entry(tokenizer, "text", letters[0], -2.0)]  # fmt: skip
    with serve(lambda messages: reply, models=None) as server:
        [answer] = answers(on(server, folder), [wanting("a lamp", 2)])
        assert answer.tops.arrays()[0][:, 1].tolist() == letters[:1] * answer.tops.tokens
        # The first byte of a character has no text of its own.
        half = tokenizer("é", add_special_tokens=False)["input_ids"][0]
        change(reply, **entry(tokenizer, "text", half, -2.0))
        with pytest.raises(EngineError, match="is the text of several") as caught:
            answers(on(server, folder), [wanting("a lamp", 2)])
        change(reply, token="no token of this one")
        with pytest.raises(EngineError, match="is the text of none"):
            answers(on(server, folder), [wanting("a lamp", 2)])
    assert "tells token ids" in caught.value.cure


def test_processed_log_probabilities_are_told_apart_before_the_first_answer(folder, tokenizer):
    warm = wanting("a lamp", sampling=Sampling(temperature=0.9, max_tokens=4))
    with serve_tiny(tokenizer, processed=True) as server:
        with pytest.raises(EngineError, match="change with temperature and top_p") as caught:
            answers(on(server, folder), [warm])
        assert server.count == PROBES
        # Of what is drawn from as it is they are the model's own.
        plain = replace(warm, sampling=Sampling(temperature=1.0, max_tokens=4))
        got = answers(on(server, folder), [plain, wanting("a lamp")], one_by_one=True)
        assert all(answer.tops.known for answer in got)
    assert "--logprobs-mode" in caught.value.cure
    assert "SGLANG_RETURN_ORIGINAL_LOGPROB" in caught.value.cure
    with serve_tiny(tokenizer) as server:
        assert answers(on(server, folder), [warm])[0].tops.known


@pytest.mark.parametrize("by", ["the server", "the request", "nobody"])
def test_a_cut_that_the_temperature_does_not_show_is_seen_all_the_same(folder, tokenizer, by):
    cut = {"the server": {"top_k": 20}, "the request": {}, "nobody": {}}[by]
    args = {"top_k": 20} if by == "the request" else {}
    drawn = wanting("a lamp", sampling=Sampling(temperature=1.0, max_tokens=4))
    with serve_tiny(tokenizer, processed=True, **cut) as server:
        engine = on(server, folder, request_args=args)
        if by == "nobody":
            assert answers(engine, [drawn])[0].tops.known
        else:
            with pytest.raises(EngineError, match="change with top_p, top_k or min_p") as caught:
                answers(engine, [drawn])
            assert "--generation-config vllm" in caught.value.cure
        assert server.count == PROBES + (by == "nobody")
    with serve_tiny(tokenizer, **cut) as server:
        assert answers(on(server, folder, request_args=args), [drawn])[0].tops.known


@pytest.mark.parametrize("args", [{"repetition_penalty": 1.1}, {"logit_bias": {"7": 5}}])
def test_penalties_are_looked_for_by_the_temperature(folder, tokenizer, args):
    greedy = wanting("a lamp", sampling=Sampling(max_tokens=4))
    with serve_tiny(tokenizer, processed=True) as server:
        with pytest.raises(EngineError, match="change with temperature and top_p") as caught:
            answers(on(server, folder, request_args=args), [greedy])
        assert answers(on(server, folder), [greedy])[0].tops.known
    assert "penalties" in caught.value.cure


def test_a_hosted_server_is_looked_at_where_the_request_says_so_alone():
    plain = {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0}
    assert look_at(plain, own=False) is None
    assert look_at({**plain, "min_p": 0.1}, own=False).other["min_p"] == 0.1
    assert look_at({**plain, "frequency_penalty": 0.1}, own=False).other["temperature"] == 0.5


# What becomes of a place where a part is cut off: it is nothing, or gone, or the rest is more.
CUTS = {
    "nothing": lambda tops: tops[1].update(logprob=-9999.0),
    "gone": lambda tops: tops.pop(),
    "more": lambda tops: [one.update(logprob=one["logprob"] + 0.24) for one in tops],
}


@pytest.mark.parametrize("cut", CUTS)
def test_what_a_request_cuts_off_is_no_part_of_a_processed_distribution(folder, tokenizer, cut):
    def answer(body):
        reply = whole_reply(tokenizer, "a", 5)
        if body["top_p"] < 1:
            CUTS[cut](reply.choice["logprobs"]["content"][0]["top_logprobs"])
        return reply

    drawn = Sampling(temperature=1.0, top_p=0.9, max_tokens=4)
    with serve(lambda messages: None, models=None) as server:
        server.answer_body = answer
        with pytest.raises(EngineError, match="change with temperature and top_p"):
            answers(on(server, folder), [wanting("a lamp", sampling=drawn)])


# How an answer is drawn, and what the request says otherwise -> how the server is looked at.
LOOKS = {
    "greedy": (Sampling(max_tokens=4), {}, [(1.0, 1.0), (0.0, 1.0)]),
    "as it is": (Sampling(temperature=1.0, max_tokens=4), {}, [(2.0, 1.0), (2.0, 1.0)]),
    "the server's cut": (Sampling(1.0, 1.0, 4), {"top_p": None}, [(2.0, 1.0), (2.0, None)]),
    "warm": (Sampling(temperature=1.3, max_tokens=4), {}, [(1.0, 1.0), (0.5, 1.0)]),
    "cut": (Sampling(1.0, 0.9, 4), {}, [(1.0, 1.0), (1.0, 0.5)]),
    "both": (Sampling(0.7, 0.9, 4), {}, [(1.0, 1.0), (0.5, 0.5)]),
    "by the request": (Sampling(max_tokens=4), {"temperature": 0.7}, [(1.0, 1.0), (0.5, 1.0)]),
    "nobody says": (Sampling(max_tokens=4), {"temperature": None}, [(1.0, 1.0), (0.5, 1.0)]),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_server_is_asked_once_whether_they_are_the_models_own(folder, tokenizer, look):
    sampling, args, looks = LOOKS[look]
    reply = whole_reply(tokenizer, "a lamp", 5)
    asked = [wanting(f"a lamp {number}", sampling=sampling) for number in range(4)]
    with serve(lambda messages: reply, models=None) as server:
        answers(on(server, folder, request_args=args), asked)
    looked = [body for body in server.requests if body["max_tokens"] == 1]
    assert [(body["temperature"], body.get("top_p")) for body in looked] == looks
    assert server.count == len(looks) + 4
    assert {body["top_logprobs"] for body in looked} <= {5}


def test_a_servers_limit_is_told_with_the_cure(folder, tokenizer):
    words = "Requested sample logprobs of 50, which is greater than max allowed: 20"
    with serve(lambda messages: whole_reply(tokenizer, "a lamp", 50), models=None) as server:
        handle = server.handle

        def limited(body, key):
            if body.get("top_logprobs", 0) > 20:
                return Failure(400, {"error": {"message": words}})
            return handle(body, key)

        server.handle = limited
        with pytest.raises(EngineError) as caught:
            answers(on(server, folder), [wanting("a lamp", 50)])
        assert server.count == PROBES
    assert words in caught.value.cause
    assert "--max-logprobs 50" in caught.value.cure


def test_a_model_that_takes_the_limit_under_another_name_is_looked_at_all_the_same(
    folder, tokenizer
):
    with serve_tiny(tokenizer, processed=True) as server:
        handle = server.handle

        def newer(body, key):
            if "max_tokens" in body:
                words = "'max_tokens' is not supported. Use 'max_completion_tokens' instead."
                return Failure(400, {"error": {"message": words}})
            return handle({**body, "max_tokens": body["max_completion_tokens"]}, key)

        server.handle = newer
        drawn = wanting("a lamp", sampling=Sampling(temperature=0.7, max_tokens=4))
        with pytest.raises(EngineError, match="change with temperature and top_p"):
            answers(on(server, folder), [drawn])


def test_a_server_that_refuses_to_write_ids_is_asked_without(folder, tokenizer):
    reply = whole_reply(tokenizer, "a lamp", 5, "llama.cpp")
    with serve(lambda messages: reply, models=None) as server:
        handle, tried = server.handle, []

        def strict(body, key):
            tried.append("return_tokens_as_token_ids" in body)
            return Failure(422, {"detail": "extra fields"}) if tried[-1] else handle(body, key)

        server.handle = strict
        got = answers(on(server, folder), [wanting("a"), wanting("b")], one_by_one=True)
    assert all(answer.tops.known for answer in got)
    # Both probes and the first answer are tried with it.
    assert tried == [True, False, True, False, True, False, False]


def test_an_answer_without_them_is_kept_once_others_had_them(folder, tokenizer, caplog):
    whole = whole_reply(tokenizer, "a lamp", 5)
    caplog.set_level(logging.WARNING, "synth")
    with serve(lambda messages: None, models=None) as server:
        server.answer_body = lambda body: without(whole) if "odd" in str(body) else whole
        asked = [wanting("a lamp"), wanting("odd 1"), wanting("odd 2")]
        got = answers(on(server, folder), asked, one_by_one=True)
    assert [answer.tops.known for answer in got] == [True, False, False]
    assert got[1].tops == Tops(K)
    assert got[1].token_ids == got[0].token_ids
    assert caplog.text.count("tells no log-probabilities of an answer") == 1


def test_without_a_tokenizer_they_are_refused(folder):
    with serve(lambda messages: "a lamp", models=None) as server:
        with pytest.raises(EngineError, match="tokenizer of served is not known") as caught:
            answers(OpenAIEngine("served", server.url), [wanting("a lamp")])
        assert server.count == 0
    assert "--tokenizer" in caught.value.cure
