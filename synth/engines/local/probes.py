"""Trials of a model that are this engine's own; those of both packages: `genpi_plugin.reading`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from genpi_plugin.reading import shared_attention
from genpi_plugin.reading.agreement import disagreement, plain_logits, test_ids
from synth.engines.base import Request, Sampling
from synth.engines.local.batch import Row

NOTHING = Request((), Sampling())
log = logging.getLogger("synth")


@torch.inference_mode()
def bytes_per_token(model: Any, pad_id: int) -> int:
    """Bytes that one more token takes in the cache; 1 where none grows."""

    def held(tokens: int) -> int:
        ids = torch.full((1, tokens), pad_id, device=model.device)
        cache = getattr(model(ids, use_cache=True), "past_key_values", None)
        layers = getattr(cache, "layers", ())
        found = [value for layer in layers for value in vars(layer).values()]
        return sum(value.nbytes for value in found if isinstance(value, torch.Tensor))

    try:
        return max((held(16) - held(8)) // 8, 1)
    except Exception as failure:  # a trial, of whatever architecture
        log.debug("no cache to measure: %r", failure)
        return 1


@torch.inference_mode()
def enable_sharing(
    model: Any, read: Callable[[Sequence[Row], int], tuple[Any, torch.Tensor]]
) -> bool:
    """Let the model read shared prefixes, if its answers stay what they are.

    Two rows of unlike length are read both ways and compared. Sliding windows would count the
    padding, recurrent layers can't be cut into rows, some attentions do more than the one of
    `shared_attention`: such models stay as they are.

    Args:
        model: attending by SDPA; afterwards by `shared_attention`, where it passes.
        read: reads rows that share so many tokens; gives the scores of what comes next.
    """
    config = model.config
    if config._attn_implementation != "sdpa" or any(
        type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers
    ):
        return False
    ids = test_ids(model, 40)
    rows = [Row(NOTHING, ids[:24], 1), Row(NOTHING, [*ids[:16], *ids[27:40]], 1)]
    plain = torch.cat([plain_logits(model, row.ids, 1) for row in rows])
    try:
        model.set_attn_implementation(shared_attention.NAME)
        _, shared = read(rows, 16)
        why = disagreement(model, shared, plain)
    except Exception as failure:  # a trial: whatever is wrong with it, the plain way is right
        why = repr(failure)
    if why:
        log.debug("no shared prefix: %s", why)
        model.set_attn_implementation("sdpa")
    return not why
