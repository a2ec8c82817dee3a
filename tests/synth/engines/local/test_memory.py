"""A lack of memory costs time, not rows; what is kept is bounded."""

from __future__ import annotations

import asyncio

import pytest

from synth.engines.base import Sampling
from synth.engines.local.engine import TransformersEngine
from tests.synth.engines.asking import PROMPT, SAMPLED, answers, ask
from tests.synth.engines.local.models import engine


def test_lack_of_memory_halves_the_batch(tiny, monkeypatch):
    import torch

    from synth.engines.local import model as local

    real, sizes = local.LocalModel.start, []

    def start(self, rows, prefix):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, rows, prefix)

    requests = [ask(text, SAMPLED) for text in "abcdefgh"]
    expected = answers(engine(tiny), requests)
    monkeypatch.setattr(local.LocalModel, "start", start)
    assert answers(engine(tiny, batch_size=8), requests) == expected
    # Once more without what was kept, then half, and half again.
    assert [size for size in sizes if size > 2] == [8, 8, 4]


def test_after_a_lack_of_memory_the_batch_grows_again(tiny, monkeypatch):
    import torch

    from synth.engines.local import model as local

    real, sizes, lacks = local.LocalModel.start, [], iter([True, True])

    def start(self, rows, prefix):
        sizes.append(len(rows))
        if next(lacks, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, rows, prefix)

    monkeypatch.setattr(local.LocalModel, "start", start)
    monkeypatch.setattr("synth.engines.local.scheduler.RECOVERY", 1)
    schedulers, begin = [], TransformersEngine._start

    def started(self):
        schedulers.append(begin(self))
        return schedulers[-1]

    monkeypatch.setattr(TransformersEngine, "_start", started)
    requests = [ask(text, Sampling(max_tokens=40)) for text in "abcdefghijklmnopqrstuvwx"]
    model = engine(tiny, batch_size=8)
    answers(model, requests)
    assert sizes[:3] == [8, 8, 4]
    assert schedulers[0]._size() == 8


def test_a_lack_of_memory_leaves_nothing_of_its_round(tiny, monkeypatch):
    """The error's frames would hold the round's tensors while it is tried again."""
    import weakref

    import torch

    from synth.engines.local import model as local

    real, held, alive = local.LocalModel.start, [], []

    def start(self, rows, prefix):
        alive.append([one() is not None for one in held])
        large = torch.zeros(10)
        if len(held) < 2:
            held.append(weakref.ref(large))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, rows, prefix)

    monkeypatch.setattr(local.LocalModel, "start", start)
    answers(engine(tiny, batch_size=4), [ask(text) for text in "abcd"])
    assert alive[:3] == [[], [False], [False, False]]


def test_an_error_between_rounds_reaches_its_callers(tiny, monkeypatch):
    """Of a model whose shape is none that is known, for one: nobody may wait for ever."""
    from synth.engines.local import model as local

    def free_bytes(self):
        raise AttributeError("no such thing")

    async def run(model):
        with pytest.raises(AttributeError, match="no such thing"):
            await asyncio.wait_for(asyncio.gather(*map(model.generate, [ask("a"), ask("b")])), 30)
        await model.close()

    monkeypatch.setattr(local.LocalModel, "free_bytes", free_bytes)
    asyncio.run(run(engine(tiny)))


def test_kept_beginnings_take_a_part_of_the_memory_at_most(tiny, monkeypatch):
    from synth.engines.local import model as local

    model = local.LocalModel(str(tiny), "float32", {})
    config = model.model.config
    by_hand = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    assert model.bytes_per_token == by_hand
    monkeypatch.setattr(local, "total_bytes", lambda device: 5 * 250 * by_hand)
    ids = [(at * 31) % 300 for at in range(900)]
    for start in (0, 100, 200, 300):
        model._prefix(ids[start : start + 100])
    assert sum(prefix.tokens for prefix in model._prefixes.values()) == 200


def test_memory_is_let_go_of(tiny):
    """Of rows that are over, of prefixes long not used, and in the end of all."""
    import gc
    import weakref

    from synth.engines.local.batch import Row, merged
    from synth.engines.local.model import KEPT_PREFIXES, LocalModel

    local = LocalModel(str(tiny), "float32", {})
    texts = ["a", "b" * 300, "c"]
    rows = [Row(ask(text), local.render(ask(text)), 9) for text in texts]
    batch = local.start(rows, 0)
    before = batch.layers[0].keys
    rows[1].ended = True
    batch = merged([batch])
    assert batch.rows == [rows[0], rows[2]]
    assert batch.used == len(rows[0].ids)
    assert batch.layers[0].keys.numel() < before.numel() / 3
    gone = weakref.ref(batch.layers[0].keys)
    rows[0].ended = rows[2].ended = True
    assert merged([batch]) is None
    del batch
    assert gone() is None
    caches = [weakref.ref(local._prefix([i] * 70).cache) for i in range(KEPT_PREFIXES + 2)]
    assert [cache() is None for cache in caches] == [True] * 2 + [False] * KEPT_PREFIXES
    model = engine(tiny)
    model._local = local
    weights = weakref.ref(local.model)
    del local
    answers(model, [ask("x", prompt=PROMPT), ask("y", prompt=PROMPT)])
    assert (model._local, model._batching) == (None, None)
    gc.collect()
    assert weights() is None
