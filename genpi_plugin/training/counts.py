"""Tokens: supervised ones of a batch, for the loss's denominators; axolotl's own counters."""

from __future__ import annotations

from typing import Any

import torch

from genpi_plugin.data.examples import TOKENS
from genpi_plugin.on_policy.batches import OWN
from genpi_plugin.on_policy.targets import Own


def step_counts(batch: dict[str, Any]) -> list[int]:
    """The `TokenCounts` of a batch, but for requests to keep, which a whole step shares."""
    behaviour, prompt_generation = batch[TOKENS]
    own: Own | None = batch.get(OWN)
    recorded = behaviour - own.tokens + own.recorded if own else behaviour
    return [behaviour, prompt_generation, recorded]


def add_tokens(state: Any, trainable: torch.Tensor, total: torch.Tensor) -> None:
    """Add to axolotl's counters in a trainer's state."""
    if not hasattr(state, "tokens"):
        state.tokens = {"trainable": torch.zeros(1), "total": torch.zeros(1)}
    state.tokens["trainable"] = state.tokens["trainable"] + trainable
    state.tokens["total"] = state.tokens["total"] + total
