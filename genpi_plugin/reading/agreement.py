"""Whether a fast way of calling a model gives what the plain way gives: one row, by itself, whole.

The measure is that of the project's losses: KL(plain‖fast), averaged over the tokens compared, in
nats. What is allowed is what rounding alone comes to, several times over: on a real model of 135
million parameters two exact ways differ by 1e-8 in float32, 5e-5 in float16 and 4e-3 in bfloat16,
while a prefix, a window or a neighbour read wrongly costs 1e-2 to 2.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch

# Mean KL per token in nats, by the coarsest numbers that the model computes with.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
# Weights of these kinds are multiplied in float32, whatever else is rounded.
EXACT = {torch.float32, torch.float64}


def divergence(found: torch.Tensor, right: torch.Tensor) -> float:
    """Mean of KL(right‖found) over positions, in nats.

    Args: logits [positions, vocabulary] each.
    """
    truth, other = right.float().log_softmax(-1), found.float().log_softmax(-1)
    # A token that is impossible in one (-inf) and not in the other makes this infinite.
    terms = torch.where(truth.exp() > 0, truth.exp() * (truth - other), 0.0)
    return float(terms.sum(-1).mean())


def tolerance(model: Any, logits: torch.Tensor) -> float:
    """The divergence up to which two ways count as the same.

    Args:
        model: its parameters tell how finely it computes ...
        logits: ... and so do its outputs, where something else (autocast) rounds on the way.
    """
    kinds = {parameter.dtype for parameter in model.parameters()}
    for kind in (torch.bfloat16, torch.float16):
        if kind in kinds or torch.equal(logits.to(kind).to(logits.dtype), logits):
            return TOLERANCE[kind]
    return TOLERANCE[torch.float32 if kinds <= EXACT else torch.bfloat16]


def disagreement(model: Any, found: torch.Tensor, right: torch.Tensor) -> str:
    """How far two ways are apart, in words; empty where that is rounding.

    Args: logits [positions, vocabulary] each.
    """
    far = divergence(found, right)
    # Not `far > ...`: where something is no number, nothing is the same.
    return "" if far <= tolerance(model, right) else f"{far:.2g} nats a token off"


def test_ids(model: Any, count: int) -> list[int]:
    """Token ids to try a model with; none that its config names (an image, an end)."""
    size = model.config.get_text_config().vocab_size
    special = special_ids(model)
    # 97 is prime: the ids wander over the whole vocabulary before one comes again.
    ids = ((at * 97 + 11) % size for at in range(count + len(special) + 1))
    usable = [token for token in ids if token not in special]
    return (usable * (count // max(len(usable), 1) + 1))[:count]


def special_ids(model: Any) -> set[int]:
    """Token ids that a model's config gives a meaning."""
    config = model.config
    named = {**config.to_dict(), **config.get_text_config().to_dict()}
    return {
        value
        for name, value in named.items()
        if name.endswith(("token_id", "token_index")) and isinstance(value, int)
    }


@torch.no_grad()
def plain_logits(model: Any, row: list[int], last: int, forward: Any = None) -> torch.Tensor:
    """Logits [last, vocabulary] of one row read by itself, without a cache.

    Args:
        forward: the model as it is called, where that is not `model` itself (a wrapper).
    """
    ids = torch.tensor([row], device=model.device)
    inputs = {"input_ids": ids, "use_cache": False, **keep(model, last)}
    return (forward or model)(**inputs).logits[0, -last:]


def keep(model: Any, last: int) -> dict[str, int]:
    """The argument that spares the logits of all but the last positions, where there is one."""
    takes = inspect.signature(base_of(model).forward).parameters
    return {"logits_to_keep": last} if "logits_to_keep" in takes else {}


@contextlib.contextmanager
def steady(model: Any, forward: Any = None) -> Iterator[None]:
    """The model without dropout, and otherwise in its mode; random draws are undone afterwards.

    Its mode, because some layers compute in another way in training, and because bitsandbytes
    converts its weights at the first evaluation pass on a CPU. Only where draws remain (a dropout
    that is not a module), the model goes into evaluation for the time.
    """
    on = [module for module in model.modules() if module.training]
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            for module in on:
                if isinstance(module, torch.nn.modules.dropout._DropoutNd):
                    module.training = False
            row = test_ids(model, 8)
            twice = (plain_logits(model, row, 8, forward) for _ in range(2))
            if model.training and not torch.equal(*twice):
                model.eval()
            yield
        finally:
            for module in on:
                module.training = True


def base_of(model: Any) -> Any:
    """The transformers model inside an adapter's wrapping."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
