"""How many tokens a model reads at most."""

from __future__ import annotations

import weakref
from typing import Any

from genpi_plugin.reading.agreement import base_of
from genpi_plugin.reading.trials import kind_of, rope_of

# Positions that reach further than those the model was made with, by a factor of their own.
STRETCHED = {"linear", "dynamic", "yarn", "longrope"}
# By model, from before somebody raised it in the config.
_noted: weakref.WeakKeyDictionary[Any, int | None] = weakref.WeakKeyDictionary()


def note(model: Any) -> None:
    """Keep in mind what a model reads, as it was loaded: axolotl then raises the length in its
    config to `sequence_len`, which makes no position more."""
    _noted[base_of(model)] = context_of(model.config)


def context_of_model(model: Any) -> int | None:
    """The longest row in tokens; None where nothing limits it.

    Args:
        model: with or without an adapter.
    """
    base = base_of(model)
    return _noted[base] if base in _noted else context_of(base.config)


def context_of(config: Any) -> int | None:
    """As `context_of_model`, by a config alone.

    A table of positions has no entry beyond, and rotated positions are untrained there. Where they
    are stretched, configs often keep the length from before (Qwen2.5's yarn).

    Args:
        config: of the model; a composite's text part counts.
    """
    config = config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if not limit or limit < 0:  # XLNet's is -1
        return None
    rope = rope_of(config)
    if kind_of(rope) not in STRETCHED:
        return limit
    original = rope.get("original_max_position_embeddings") or limit
    return max(limit, int(original * (rope.get("factor") or 1)))
