"""Trials of what a model can do: a fast way compared with the plain one on a few short rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from genpi_plugin.reading import shared_attention
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
def takes_padding(model: Any, pad_id: int) -> bool:
    """Whether a row's scores stay what they are beside a longer one, padded on its left."""
    ids = torch.tensor([test_ids(model, 24)], device=model.device)
    padded = torch.cat([torch.full_like(ids[:, :7], pad_id), ids[:, 7:]], dim=1)
    mask = torch.ones(2, 24, dtype=torch.long, device=model.device)
    mask[1, :7] = 0
    how = GenerationConfig(
        do_sample=False,
        max_new_tokens=1,
        pad_token_id=pad_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    try:
        [alone] = model.generate(ids[:, 7:], generation_config=how).logits
        padded_scores = model.generate(
            torch.cat([ids, padded]), attention_mask=mask, generation_config=how
        ).logits[0]
    except Exception as failure:  # a trial: row by row is right where anything is
        log.debug("no padding: %r", failure)
        return False
    return same_scores(padded_scores[1:].float(), alone.float())


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
    plain = torch.cat(
        [model(torch.tensor([row.ids], device=model.device)).logits[:, -1] for row in rows]
    ).float()
    try:
        model.set_attn_implementation(shared_attention.NAME)
        _, shared = read(rows, 16)
        same = same_scores(shared, plain)
    except Exception as failure:  # a trial: whatever is wrong with it, the plain way is right
        log.debug("no shared prefix: %r", failure)
        same = False
    if not same:
        model.set_attn_implementation("sdpa")
    return same


def rope_switch(config: Any) -> int:
    """The position from which on a model reads a batch's positions in another way, which then
    depends on the longest row; 0 if there is none."""
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if (rope.get("rope_type") or rope.get("type")) not in {"longrope", "dynamic"}:
        return 0
    named = "original_max_position_embeddings"
    return rope.get(named) or getattr(config, named, None) or config.max_position_embeddings


def same_scores(scores: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether scores differ by rounding alone, which in bfloat16 comes to 0.06; tokens that were
    left out come to 1."""
    return bool((scores - right).norm() / (right - right.mean(-1, keepdim=True)).norm() < 0.2)


def test_ids(model: Any, count: int) -> list[int]:
    """Token ids to try a model with."""
    size = model.config.get_text_config().vocab_size
    return [(at * 97 + 11) % size for at in range(count)]
