"""The supervised tokens of a batch, for the loss's denominators."""

from __future__ import annotations

from typing import Any

from genpi_plugin.data.examples import TOKENS
from genpi_plugin.on_policy.batches import OWN
from genpi_plugin.on_policy.targets import Own


def step_counts(batch: dict[str, Any]) -> list[int]:
    """The `TokenCounts` of a batch, but for requests to keep, which a whole step shares."""
    behaviour, prompt_generation = batch[TOKENS]
    own: Own | None = batch.get(OWN)
    recorded = behaviour - own.tokens + own.recorded if own else behaviour
    return [behaviour, prompt_generation, recorded]
