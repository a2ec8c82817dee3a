"""Continuous batching by transformers itself: a paged cache, shared blocks, requests in and out at
any token.

This is how a model on a GPU is asked. Of its kernels flash attention is the one that makes it fast;
without it every request attends over the blocks of all others, masked. For CPUs see `scheduler`.

transformers draws all rows from one random state, so that an answer would depend on the requests
beside it and a repeated run give other rows. Here every row draws for itself, as everywhere else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.utils import is_flash_attn_2_available

from genpi_plugin.reading.agreement import test_ids
from synth.engines.local.batch import Row
from synth.engines.local.likeliest import note_likeliest
from synth.engines.local.model import LocalModel
from synth.engines.local.probes import NOTHING
from synth.engines.local.sampling import next_tokens
from synth.errors import EngineError, RequestError

# Of the device's free memory, that the cache may take: a second model may be on the same GPU.
CACHE_SHARE = 0.45
TRIAL = {"num_blocks": 16, "block_size": 16, "max_batch_tokens": 64}
TRIAL_TOKENS = 8
STOPPING = 60.0  # seconds
ALIVE_EVERY = 1.0  # seconds between two looks whether the loop still runs
log = logging.getLogger("synth")


class ContinuousBatching:
    """Fills rows with their answers' tokens, many at a time, in transformers' own thread.

    Args:
        local: the model.
        batch_size: rows decoded at once, at most; None leaves it to transformers.
        settings: further fields of transformers' `ContinuousBatchingConfig`.
    """

    def __init__(self, local: LocalModel, batch_size: int | None = None, **settings: Any) -> None:
        self._local = local
        self._draws = _OwnDraws()
        self._numbers = itertools.count()
        # Draws are made in Python, between the steps: nothing that a captured graph could hold.
        config = ContinuousBatchingConfig(
            **{
                "max_requests_per_batch": batch_size,
                "max_memory_percent": CACHE_SHARE,
                "use_cuda_graph": False,
                "use_async_batching": False,
                **settings,
            }
        )
        how = GenerationConfig(
            do_sample=False, eos_token_id=local.end_ids, pad_token_id=local.pad_id
        )
        self._attention = local.model.config._attn_implementation
        # Named here: left to itself, transformers would fetch a kernel's code from the hub.
        flash = local.device.type == "cuda" and is_flash_attn_2_available()
        local.model.set_attn_implementation("paged|flash_attention_2" if flash else "paged|sdpa")
        self._manager = local.model.init_continuous_batching(how, config)
        processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([self._draws]))
        processors.tensors_required = 1
        self._manager.logit_processor = processors

    async def answer(self, row: Row) -> Row:
        """The row with its tokens written.

        Raises:
            EngineError: the loop has died, of a lack of memory for one.
            RequestError: this request failed in it.
        """
        if not self._manager.is_running():
            if (error := _fatal_error(self._manager)) is not None:
                raise _died(error)
            self._manager.start()
        name = f"{next(self._numbers)}"
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._draws.rows[name] = row
        self._manager.register_result_handler(name, lambda result: _settle(done, result))
        self._manager.add_request(
            row.ids, name, max_new_tokens=row.limit, eos_token_id=self._local.end_ids
        )
        try:
            result = await self._result(done)
        except asyncio.CancelledError:
            self._manager.cancel_request(name)
            raise
        finally:
            self._draws.rows.pop(name, None)
        if result.error is not None:
            if (error := await self._end()) is not None:
                raise _died(error)
            raise RequestError(
                f"transformers failed to answer a request: {result.error}",
                "Run the same command again to go on.",
            )
        for token in result.generated_tokens:
            self._local.add_token(row, token)
        return row

    async def _result(self, done: asyncio.Future[Any]) -> Any:
        """What the loop made of a request. One that died just before it was asked says nothing."""
        while not (await asyncio.wait([done], timeout=ALIVE_EVERY))[0]:
            if not self._manager.is_running() and not done.done():
                raise _died(_fatal_error(self._manager) or RuntimeError("its thread has ended"))
        return done.result()

    async def _end(self) -> Exception | None:
        """What ended the loop, if it has ended: it fails its requests first and says so then."""
        for _ in range(20):
            if (error := _fatal_error(self._manager)) is not None:
                return error
            await asyncio.sleep(ALIVE_EVERY / 20)
        return None

    def close(self) -> None:
        """Stop the loop, and give the model its own attention back."""
        self._manager.stop(block=True, timeout=STOPPING)
        self._manager.destroy()
        self._local.model.set_attn_implementation(self._attention)


def passes_trial(local: LocalModel) -> bool:
    """Whether two short requests are answered as `generate` answers them.

    Hybrid and recurrent models have no paged cache, and a release of transformers may have another
    interface: then the trial fails, and the model is asked in another way.
    """
    ids = test_ids(local.model, 40)
    rows = [Row(NOTHING, ids[:24], TRIAL_TOKENS), Row(NOTHING, ids[:40], TRIAL_TOKENS)]
    plain = [Row(NOTHING, row.ids, TRIAL_TOKENS) for row in rows]
    for row in plain:
        local.answer_plainly([row], lambda: False)

    async def answer_all() -> None:
        batching = ContinuousBatching(local, **TRIAL)
        try:
            await asyncio.gather(*map(batching.answer, rows))
        finally:
            batching.close()

    try:
        asyncio.run(answer_all())
    except Exception as failure:  # a trial, of whatever architecture and release
        log.info("%s: no continuous batching (%r).", local.name, failure)
        return False
    return _alike(local, plain, rows)


def _alike(local: LocalModel, plain: Sequence[Row], rows: Sequence[Row]) -> bool:
    """Whether both ways wrote the same first tokens; below float32 a near tie may fall either way
    later."""
    count = TRIAL_TOKENS if local.dtype == torch.float32 else 1
    return [row.tokens[:count] for row in plain] == [row.tokens[:count] for row in rows]


class _OwnDraws(ContinuousBatchingLogitsProcessor):
    """Leaves transformers' greedy choice the token that `next_tokens` chooses for each row."""

    supported_kwargs: ClassVar[dict[str, type]] = {}
    ignored_kwargs = ()

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._order: list[Row] = []
        # Of a request that was given up: the loop may have it for one more step.
        self._gone = Row(NOTHING, [], 0)

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Nothing: a row's settings are looked up by its name."""

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """Note which rows the next scores are of."""
        self._order = [
            self.rows.get(one.state.request_id, self._gone) for one in requests_with_new_token
        ]
        return torch.zeros(len(self._order), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        """Scores [rows or more, vocabulary] in which the chosen token alone is possible."""
        count = len(self._order)
        note_likeliest(scores[:count], self._order)
        sampling = [row.request.sampling for row in self._order]
        chosen = next_tokens(scores[:count], sampling, [row.random for row in self._order])
        only = torch.full_like(scores[:count], -torch.inf).scatter(-1, chosen[:, None], 0.0)
        return torch.cat([only, scores[count:]])


def _settle(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fatal_error(manager: Any) -> Exception | None:
    """What ended the loop; transformers 5.16 keeps it in the manager, 5.20 in its status."""
    places = (manager, manager.background_thread_status)
    return next((e for place in places if (e := getattr(place, "fatal_error", None))), None)


def _died(error: Exception) -> EngineError:
    return EngineError(
        f"The model's continuous batching stopped: {error}",
        "Where memory was short: a smaller --batch-size, or --engine vllm. Without it: "
        "--engine-args '{\"continuous_batching\": false}'.",
    )
