"""The likeliest tokens that the model in this process holds, against a plain forward pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from synth.engines.base import Sampling
from synth.engines.local import model as local
from synth.engines.local.likeliest import likeliest
from synth.engines.tops import LOGPROB, Tops
from synth.errors import EngineError
from tests.synth.engines.asking import PROMPT, SAMPLED, answers, ask
from tests.synth.engines.local.models import engine

K = 7
SHARP = Sampling(temperature=0.6, top_p=0.8, max_tokens=12)
ASKED = [
    replace(request, logprobs=k)
    for request, k in (
        (ask("a red shirt", Sampling(max_tokens=9), prompt=PROMPT), K),
        (ask("hello", SAMPLED, seed=3), K),
        (ask("a lamp under 30 dollars", SHARP, seed=5, prompt=PROMPT), 3),
        (ask("hello", Sampling(max_tokens=9)), 0),
    )
]


def plain(folder, request, answer):
    """Log-probabilities (tokens, vocabulary) by one forward pass over request and answer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    messages = [{"role": one.role, "content": one.content} for one in request.messages]
    begin = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    with torch.inference_mode():
        logits = model(torch.tensor([[*begin, *answer.token_ids]])).logits[0]
    return logits[len(begin) - 1 : -1].log_softmax(-1).numpy()


def agree(folder, asked, got):
    for request, answer in zip(asked, got, strict=True):
        if not request.logprobs:
            assert answer.tops is None
            continue
        whole = plain(folder, request, answer)
        ids, nats = answer.tops.arrays()
        assert ids.shape == nats.shape == (len(answer.token_ids), request.logprobs)
        assert (ids == np.argsort(-whole, axis=-1)[:, : request.logprobs]).all()
        held = np.take_along_axis(whole, ids, -1)
        np.testing.assert_allclose(nats.astype(np.float64), held, rtol=1e-3, atol=1e-3)


def test_they_are_those_of_a_plain_forward_pass_whatever_is_drawn(tiny):
    got = answers(engine(tiny), ASKED)
    agree(tiny, ASKED, got)
    # An answer is the same whether they are asked for or not.
    without = answers(engine(tiny), [replace(request, logprobs=0) for request in ASKED])
    assert [replace(one, tops=None) for one in got] == without


def test_the_end_token_has_them_too(tiny, monkeypatch):
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(tiny).eos_token_id
    drawn = local.next_tokens

    def ends_at_the_fifth(scores, sampling, randoms):
        ends_at_the_fifth.calls += 1
        chosen = drawn(scores, sampling, randoms)
        return torch.full_like(chosen, end) if ends_at_the_fifth.calls == 5 else chosen

    ends_at_the_fifth.calls = 0
    monkeypatch.setattr(local, "next_tokens", ends_at_the_fifth)
    [answer] = answers(engine(tiny), ASKED[:1])
    assert (answer.finish, len(answer.token_ids), answer.token_ids[-1]) == ("stop", 5, end)
    agree(tiny, ASKED[:1], [answer])


def test_models_that_plain_generate_answers_tell_the_same(tiny, monkeypatch):
    monkeypatch.setattr(local, "enable_sharing", lambda *_: False)
    agree(tiny, ASKED, answers(engine(tiny), ASKED))


def test_continuous_batching_tells_the_same(tiny):
    served = engine(tiny, continuous_batching={"num_blocks": 64, "block_size": 16})
    got = answers(served, ASKED[:2])
    assert served._continuous
    agree(tiny, ASKED[:2], got)


def test_no_log_probability_is_above_0():
    scores = torch.linspace(-30, 30, 61)[None] * torch.linspace(0.5, 4, 200)[:, None]
    for _, nats in likeliest(scores, 3):
        assert np.frombuffer(nats, LOGPROB).max() <= 0
    rounded = Tops.of(2, [{4: 1e-7, 5: -17.0}])
    assert rounded.arrays()[1].tolist() == [[0.0, -17.0]]


def test_more_than_the_vocabulary_has_are_refused(tiny):
    with pytest.raises(EngineError, match=r"--logprobs 100000: the vocabulary of .* has \d+ tok"):
        answers(engine(tiny), [replace(ASKED[0], logprobs=100_000)])
