"""transformers' continuous batching, here on a CPU: its answers are those of our scheduler."""

import asyncio
from types import SimpleNamespace

import pytest

from synth.engines.base import Message, Request, Sampling
from synth.engines.local.batch import Row
from synth.engines.local.continuous import ContinuousBatching, _OwnDraws, passes_trial
from synth.engines.local.engine import TransformersEngine
from synth.engines.local.model import LocalModel
from synth.engines.local.scheduler import Scheduler
from synth.errors import EngineError
from tests.genpi_plugin.reading.families import runnable, saved
from tests.tiny import make_model, make_tokenizer, save_tiny

SMALL = {"num_blocks": 96, "block_size": 16, "max_batch_tokens": 256}
PROMPT = "You are a shop assistant. Answer with one action. " * 4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def requests(count=6):
    """Greedy and drawn ones, some behind a prompt that they share."""
    prompt = (Message("system", PROMPT),)
    return [
        Request(
            (*(prompt if number % 3 else ()), Message("user", f"find a lamp {number}")),
            Sampling(0.9 if number % 2 else 0.0, 0.9, 10 + number),
            seed=number,
        )
        for number in range(count)
    ]


def answers(engine, asked):
    async def run():
        found = await asyncio.gather(*map(engine.generate, asked))
        kind = type(engine._batching)
        await engine.close()
        return found, kind

    return asyncio.run(run())


def engine(folder, continuous):
    return TransformersEngine(str(folder), "float32", 4, continuous_batching=continuous)


def test_answers_are_the_schedulers_drawn_ones_too(tiny):
    ours, kind = answers(engine(tiny, None), requests())
    assert kind is Scheduler
    theirs, kind = answers(engine(tiny, SMALL), requests())
    assert kind is ContinuousBatching
    assert theirs == ours


def test_a_draw_does_not_depend_on_the_requests_beside_it(tiny):
    together, _ = answers(engine(tiny, SMALL), requests())
    alone, _ = answers(engine(tiny, SMALL), requests()[3:4])
    assert alone == together[3:4]


def test_an_answer_ends_at_its_end_token(tiny):
    plain, _ = answers(engine(tiny, None), requests(1))
    tokens = make_tokenizer().encode(plain[0].text, add_special_tokens=False)

    async def run():
        model = engine(tiny, SMALL)
        await model.on_model(lambda local: local.end_ids.append(tokens[4]))
        found = await model.generate(requests(1)[0])
        await model.close()
        return found

    answer = asyncio.run(run())
    assert answer.finish == "stop"
    assert plain[0].text.startswith(answer.text)
    assert len(answer.text) < len(plain[0].text)


def test_the_model_itself_is_as_it_was_between_answers(tiny):
    """Preflight scores with it: a paged attention would read nothing there."""

    async def run():
        model = engine(tiny, SMALL)
        before = await model.on_model(lambda local: local.model.config._attn_implementation)
        first = await model.generate(requests()[1])
        between = await model.on_model(lambda local: local.model.config._attn_implementation)
        again = await model.generate(requests()[1])
        await model.close()
        return before, between, first, again

    before, between, first, again = asyncio.run(run())
    assert before == between
    assert first == again


def test_a_cancelled_request_leaves_the_others_alone(tiny):
    async def run():
        model = engine(tiny, SMALL)
        expected = await model.generate(requests()[0])
        gone = asyncio.create_task(
            model.generate(Request((Message("user", "gone"),), Sampling(max_tokens=900)))
        )
        stays = asyncio.create_task(model.generate(requests()[0]))
        await asyncio.sleep(0.05)
        gone.cancel()
        assert await stays == expected
        await model.close()
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(run())


def test_the_loop_outlives_a_request_that_was_given_up_while_it_has_it():
    """The caller's row is gone at once; the loop learns of it a step later."""
    import torch

    draws = _OwnDraws()
    gone = SimpleNamespace(state=SimpleNamespace(request_id="gone"))
    draws.prepare_tensor_args([gone])
    scores = draws(torch.tensor([[0.1, 0.9, 0.3]]), torch.zeros(1, dtype=torch.int32))
    assert scores.argmax(-1).tolist() == [1]


def test_a_model_without_a_paged_cache_fails_the_trial_and_is_asked_otherwise(tmp_path):
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2)
    saved(runnable(MambaForCausalLM(config), "Mamba"), tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert not passes_trial(LocalModel(str(tmp_path), "float32", {}))
    _, kind = answers(engine(tmp_path, True), requests(1))
    assert kind is Scheduler


def test_a_model_that_answers_otherwise_fails_the_trial(tiny, monkeypatch):
    local = LocalModel(str(tiny), "float32", {})
    assert passes_trial(local)
    other = make_model(seed=1)
    monkeypatch.setattr(local, "answer_plainly", _answering_with(other))
    assert not passes_trial(local)


def test_a_dead_loop_is_told_with_the_ways_out(tiny, monkeypatch):
    from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor

    def broken(*args, **kwargs):
        raise MemoryError("no blocks left")

    monkeypatch.setattr(ContinuousBatchProcessor, "prepare_next_batch", broken)
    local = LocalModel(str(tiny), "float32", {})

    async def run():
        batching = ContinuousBatching(local, **SMALL)
        model = engine(tiny, False)
        model._local, model._batching = local, batching
        try:
            await asyncio.wait_for(model.generate(requests()[0]), 30)
        finally:
            await model.close()

    with pytest.raises(EngineError, match=r"no blocks left.*\n.*--batch-size"):
        asyncio.run(run())


def test_a_loop_that_ends_before_it_sees_a_request_is_noticed(tiny, monkeypatch):
    from transformers.generation.continuous_batching import ContinuousBatchingManager

    def ends_first(manager, *args, **kwargs):
        manager.stop(block=True, timeout=10)

    monkeypatch.setattr(ContinuousBatchingManager, "add_request", ends_first)
    local = LocalModel(str(tiny), "float32", {})

    async def run():
        batching = ContinuousBatching(local, **SMALL)
        try:
            await asyncio.wait_for(batching.answer(Row(requests()[0], [5, 6, 7], 4)), 30)
        finally:
            batching.close()

    with pytest.raises(EngineError, match="its thread has ended"):
        asyncio.run(run())


def _answering_with(model):
    import torch

    def answer_plainly(rows, stop):
        for row in rows:
            ids = torch.tensor([row.ids])
            row.tokens = model.generate(ids, max_new_tokens=row.limit, do_sample=False)[
                0, len(row.ids) :
            ].tolist()

    return answer_plainly
