"""A model in this process: its answers are those of `generate`, however rows are batched."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from synth.engines.base import Answer, Message, Sampling
from synth.engines.local.engine import TransformersEngine
from synth.engines.server.engine import OpenAIEngine
from synth.errors import EngineError, RowError
from tests.synth.engines.asking import PROMPT, SAMPLED, answers, ask
from tests.synth.engines.local.models import engine, mixed_requests, plain_text, plain_tokens
from tests.synth.server import transformers_serve
from tests.tiny import CORPUS, save_tiny


def test_answers_are_those_of_plain_generate(tiny):
    requests = mixed_requests()
    model = engine(tiny, batch_size=4)
    got = answers(model, requests)
    assert [a.text for a in got] == [plain_text(tiny, request) for request in requests]
    assert len({a.text for a in got}) > 10


def tokens_read(model: TransformersEngine) -> list[int]:
    """Grows by what goes through the model from now on, call by call."""
    model._load()
    read: list[int] = []
    model._local.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: read.append(inputs[0].numel())
    )
    return read


def test_the_head_gets_the_last_states_in_one_piece(tiny):
    model = engine(tiny, batch_size=4)
    model._load()
    given: list[bool] = []
    model._local.model.get_output_embeddings().register_forward_hook(
        lambda _, states, __: given.append(states[0].is_contiguous())
    )
    answers(model, [ask(text, Sampling(max_tokens=2), prompt=PROMPT) for text in ("a", "bcd", "e")])
    assert len(given) >= 2
    assert all(given)


def test_the_prompt_is_read_once(tiny):
    requests = [ask(text, Sampling(max_tokens=1), prompt=PROMPT) for text in "abcdefghijkl"]
    model = engine(tiny, batch_size=4)
    read = tokens_read(model)
    length = len(model._local.render(requests[0]))
    answers(model, requests)
    assert length > 150
    assert sum(read) < length + 12 * 20


def test_a_long_prompt_is_known_from_the_first_request_that_came_alone(tiny):
    from synth.engines.local.model import GRAIN

    prompt = (Message("system", " ".join(CORPUS * 7)),)
    requests = [ask(text, Sampling(max_tokens=1), prompt=prompt) for text in ("one", "another")]
    model = engine(tiny)
    read = tokens_read(model)
    lengths = [len(model._local.render(request)) for request in requests]
    got = answers(model, requests, one_by_one=True)
    assert lengths[0] > 550
    assert sum(read) < lengths[0] + 20 + GRAIN
    assert [answer.text for answer in got] == [plain_text(tiny, request) for request in requests]


def test_rows_with_unlike_prefixes_are_decoded_in_one_batch(tiny, monkeypatch):
    from synth.engines.local import model as local

    other = (Message("system", "Another prompt. " + " ".join(CORPUS[::-1])),)
    requests = [
        ask(text, Sampling(max_tokens=40), prompt=prompt)
        for text in CORPUS
        for prompt in (PROMPT, other, ())
    ]
    beside = []
    real = local.LocalModel.advance

    def watched(self, batch, most, stop):
        beside.append(len({row.prefix and row.prefix.tokens for row in batch.rows}))
        return real(self, batch, most, stop)

    monkeypatch.setattr(local.LocalModel, "advance", watched)
    got = answers(engine(tiny), requests)
    assert beside[0] == 3
    assert [answer.text for answer in got] == [plain_text(tiny, request) for request in requests]


def test_without_sharing_answers_are_the_same(tiny, monkeypatch):
    from synth.engines.local import model as local

    requests = mixed_requests()
    shared = answers(engine(tiny), requests)
    monkeypatch.setattr(local, "enable_sharing", lambda model, read: False)
    assert answers(engine(tiny), requests) == shared


def test_sampling_does_not_depend_on_the_rows_beside(tiny):
    requests = mixed_requests(SAMPLED)
    together = answers(engine(tiny, batch_size=7), requests)
    alone = answers(engine(tiny, batch_size=7), requests[::-1], one_by_one=True)
    assert together == alone[::-1]


def test_seeds_draw_anew_and_repeat(tiny):
    requests = [ask("a red shirt", SAMPLED, seed) for seed in range(8)]
    first = answers(engine(tiny), requests)
    assert len({answer.text for answer in first}) > 4
    assert answers(engine(tiny), requests) == first


@pytest.mark.parametrize("template", ["llama3", "gemma", "thinking"])
def test_answers_end_where_the_template_ends_a_turn(template, tmp_path):
    """As in models whose configuration names another end token than their template uses."""
    from transformers import AutoTokenizer, GenerationConfig

    from synth.engines.local.model import LocalModel

    folder = save_tiny(tmp_path, template)
    GenerationConfig(eos_token_id=0).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.eos_token_id
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    assert LocalModel(str(folder), "float32", {}).end_ids == [0, end]


def test_end_token_stops_and_limit_cuts(tiny):
    """The token that ends the answer is not part of its text, and is among its tokens."""
    from synth.engines.local.model import LocalModel

    request = ask("a red shirt", Sampling(max_tokens=12))
    tokens = plain_tokens(tiny, request)
    local = LocalModel(str(tiny), "float32", {})
    model = engine(tiny)
    model._local = local
    [cut] = answers(model, [request])
    assert (cut.finish, cut.usage.completion_tokens) == ("length", 12)
    assert cut.token_ids == tuple(tokens[:12])
    local = LocalModel(str(tiny), "float32", {})
    at = next(i for i in range(3, 12) if tokens[i] not in tokens[:i])
    local.end_ids = [tokens[at]]
    model = engine(tiny)
    model._local = local
    [ended] = answers(model, [request])
    assert (ended.finish, ended.usage.completion_tokens) == ("stop", at)
    assert ended.token_ids == tuple(tokens[: at + 1])
    assert cut.text.startswith(ended.text)


def test_an_engine_says_how_much_it_works_on_at_once_and_what_it_takes(tiny):
    from synth.engines.local.engine import BATCH_SIZE
    from synth.engines.local.model import device_type

    assert engine(tiny, batch_size=5).capacity == 5
    assert engine(tiny).capacity == BATCH_SIZE[device_type()]
    assert OpenAIEngine("m", ["http://one/v1", "http://two/v1"], concurrency=48).capacity == 48

    async def asked(model):
        try:
            scorer = await model.scorer()
            request = ask("a red shirt")
            ids = await scorer.tokens(request)
            assert ids == (await model.generate(request)).usage.prompt_tokens
            assert await scorer.tokens(request, "search[red shirt]") > ids
            return scorer.exact, await model.context()
        finally:
            await model.close()

    assert asyncio.run(asked(engine(tiny))) == (True, 2048)


def test_too_long_a_request_rejects_its_row(tiny):
    async def run():
        model = engine(tiny)
        results = await asyncio.gather(
            model.generate(ask("word " * 3000)), model.generate(ask("short")),
            return_exceptions=True,
        )  # fmt: skip
        await model.close()
        return results

    long, short = asyncio.run(run())
    assert isinstance(long, RowError)
    assert "2048" in long.detail
    assert isinstance(short, Answer)


def test_closing_cancels_what_is_under_way(tiny):
    async def run():
        model = engine(tiny)
        tasks = [
            asyncio.create_task(model.generate(ask(str(i), Sampling(max_tokens=1900))))
            for i in range(3)
        ]
        await asyncio.sleep(0.5)
        await asyncio.wait_for(model.close(), timeout=5)
        return await asyncio.gather(*tasks, return_exceptions=True)

    # The model is random: one of them may have come to its end by then.
    ends = [type(end) for end in asyncio.run(run())]
    assert asyncio.CancelledError in ends
    assert set(ends) <= {asyncio.CancelledError, Answer}


def test_a_caller_that_gives_up_does_not_hold_up_the_others(tiny):
    async def run():
        model = engine(tiny, batch_size=2)
        await model.generate(ask("warm", Sampling(max_tokens=1)))
        gone = asyncio.create_task(model.generate(ask("gone", Sampling(max_tokens=1900))))
        stays = asyncio.create_task(model.generate(ask("stays")))
        await asyncio.sleep(0.1)
        gone.cancel()
        answer = await stays
        await asyncio.sleep(0.2)
        assert not model._batching._futures
        assert model._batching._batch is None
        await model.close()
        return answer

    assert asyncio.run(run()).usage.completion_tokens == 24


def test_an_error_in_the_model_reaches_its_callers(tiny, monkeypatch):
    from synth.engines.local import model as local

    def advance(self, batch, most, stop):
        raise RuntimeError("broken")

    monkeypatch.setattr(local.LocalModel, "advance", advance)
    with pytest.raises(RuntimeError, match="broken"):
        answers(engine(tiny), [ask("hello"), ask("you")])


@pytest.mark.slow
def test_a_real_server_and_this_process_give_the_same_greedy_answers(tiny):
    requests = [ask(text, prompt=PROMPT) for text in CORPUS]
    with transformers_serve(tiny) as url:
        served = answers(OpenAIEngine(str(tiny), url, concurrency=2), requests)
        with pytest.raises(EngineError, match="nobody"):
            answers(OpenAIEngine("nobody", url), requests[:1])
    # The server tells no token ids, and leaves special tokens inside an answer out.
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    here = [
        replace(
            answer,
            text=tokenizer.decode(answer.token_ids, skip_special_tokens=True),
            token_ids=None,
            tokenizer=None,
        )
        for answer in answers(engine(tiny), requests)
    ]
    assert served == here


def test_an_answer_ends_at_the_models_context(tiny):
    [answer] = answers(engine(tiny), [ask("word " * 660, Sampling(max_tokens=1000))])
    assert answer.finish == "length"
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == 2048
