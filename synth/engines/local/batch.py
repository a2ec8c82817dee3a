"""Rows that are decoded together, and their key-value cache."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from genpi_plugin.reading.shared_attention import Share
from synth.engines.base import Request
from synth.engines.local.sampling import row_random

# Columns by which a batch's cache grows at a time.
ROOM = 64


@dataclass(eq=False)
class Prefix:
    """A beginning that has been read: `cache` holds one row of `tokens` tokens."""

    tokens: int
    cache: DynamicCache
    _parts: dict[int, Prefix] = field(default_factory=dict)

    def part(self, tokens: int) -> Prefix:
        """Its first `tokens`, without a copy; the same object for the same number."""
        if tokens == self.tokens:
            return self
        if tokens not in self._parts:
            cache = self.branch()
            for layer in cache.layers:
                layer.keys = layer.keys[:, :, :tokens]
                layer.values = layer.values[:, :, :tokens]
            self._parts[tokens] = Prefix(tokens, cache)
        return self._parts[tokens]

    def branch(self) -> DynamicCache:
        """A cache that goes its own way from here. Layers replace their tensors: none is copied."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        return cache


@dataclass(eq=False)
class Row:
    """A request on its way: `ids` to read, up to `limit` tokens to write, `tokens` so far, without
    the one that `end`s it. `tops` has ids and log-probabilities of the likeliest tokens at each, as
    `Tops` holds them, where the request asks for them; behind the answer there may be more."""

    request: Request
    ids: list[int]
    limit: int
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    end: int | None = None
    prefix: Prefix | None = None
    tops: list[tuple[bytes, bytes]] = field(default_factory=list)
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = row_random(self.request)

    @property
    def over(self) -> bool:
        """Whether nothing is left to write."""
        return self.ended or len(self.tokens) >= self.limit


class RowsLayer(DynamicLayer):
    """One layer's keys and values of what the rows have beside their prefix.

    (rows, kv_heads, columns, dim) with room for more columns: a step writes one column instead
    of copying all. `update` gives back the columns in use, with the prefixes as the attribute
    `shares` of the keys.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, shares: Sequence[Share]) -> None:
        super().__init__()
        self.shares = list(shares)
        self.used = 0
        self.is_initialized = False

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start, self.used = self.used, self.used + key_states.shape[2]
        if not self.is_initialized or self.used > self.keys.shape[2]:
            kept = (self.keys, self.values) if self.is_initialized else (None, None)
            self.keys = _roomy(key_states, self.used, kept[0])
            self.values = _roomy(value_states, self.used, kept[1])
            self.is_initialized = True
        self.keys[:, :, start : self.used] = key_states
        self.values[:, :, start : self.used] = value_states
        keys = self.keys[:, :, : self.used]
        keys.shares = self.shares
        return keys, self.values[:, :, : self.used]

    def get_seq_length(self) -> int:
        return self.used


class Batch:
    """Rows in order of their prefixes, and what they have read and written beside them.

    Args:
        rows: the rows, those of a prefix next to each other.
        first: the column in which each row's own tokens begin; before it is padding. All rows
            end in the same column. The token written last is not in the cache yet.
        layers: of the model.
    """

    def __init__(self, rows: Sequence[Row], first: Sequence[int], layers: int) -> None:
        self.rows = list(rows)
        self.first = list(first)
        self.cache = DynamicCache()
        self.cache.layers = [RowsLayer(shares) for shares in _shares(self.rows, layers)]

    @property
    def layers(self) -> list[RowsLayer]:
        return self.cache.layers

    @property
    def used(self) -> int:
        """Columns in use."""
        return self.layers[0].used

    def positions(self) -> list[int]:
        """Where each row's next token stands in its text."""
        prefixes = [row.prefix.tokens if row.prefix else 0 for row in self.rows]
        return [
            prefix + self.used - first for prefix, first in zip(prefixes, self.first, strict=True)
        ]

    def over(self) -> int:
        """How many rows have nothing left to write."""
        return sum(row.over for row in self.rows)


def merged(batches: Sequence[Batch]) -> Batch | None:
    """One batch of all rows that go on, without columns that are padding in all of them.

    The batches given are used up: each layer's memory is let go of as soon as it is copied.

    Returns:
        None when there are no such rows.
    """
    picked = [
        (batch, place) for batch in batches for place, row in enumerate(batch.rows) if not row.over
    ]
    if not picked:
        return None
    picked.sort(key=lambda entry: id(entry[0].rows[entry[1]].prefix))
    own = [batch.used - batch.first[place] for batch, place in picked]
    width = max(own)
    rows = [batch.rows[place] for batch, place in picked]
    result = Batch(rows, [width - tokens for tokens in own], len(batches[0].layers))
    moves = [
        (batch, [at for at, (theirs, _) in enumerate(picked) if theirs is batch])
        for batch in batches
    ]
    for number, layer in enumerate(result.layers):
        olds = [(batch.layers[number], to, [picked[at][1] for at in to]) for batch, to in moves]
        layer.keys = _joined([(old.keys, old.used, to, of) for old, to, of in olds], width)
        layer.values = _joined([(old.values, old.used, to, of) for old, to, of in olds], width)
        layer.used, layer.is_initialized = width, True
        for old, _, _ in olds:
            del old.keys, old.values
    return result


def _joined(
    parts: Sequence[tuple[torch.Tensor, int, list[int], list[int]]], width: int
) -> torch.Tensor:
    """Rows `of` each tensor, with their last columns in use, as rows `to` of a new one."""
    some, rows = parts[0][0], sum(len(to) for _, _, to, _ in parts)
    new = some.new_zeros(rows, some.shape[1], width + ROOM, some.shape[3])
    for old, used, to, of in parts:
        columns = min(width, used)
        new[to, :, width - columns : width] = old[of, :, used - columns : used]
    return new


def _shares(rows: Sequence[Row], layers: int) -> list[list[Share]]:
    """For each layer, the prefixes of the rows, which stand in order of them."""
    shares: list[list[Share]] = [[] for _ in range(layers)]
    first = 0
    for _, same in groupby(rows, key=lambda row: id(row.prefix)):
        group = list(same)
        end = first + len(group)
        prefix = group[0].prefix
        if prefix is not None:
            for of_layer, layer in zip(shares, prefix.cache.layers, strict=True):
                of_layer.append(Share(first, end, layer.keys[0], layer.values[0]))
        first = end
    return shares


def _roomy(new: torch.Tensor, used: int, kept: torch.Tensor | None) -> torch.Tensor:
    """A buffer like `new` with `used` columns and some more, `kept` at its start."""
    rows, heads, _, dim = new.shape
    buffer = new.new_zeros(rows, heads, used + ROOM, dim)
    if kept is not None:
        buffer[:, :, : kept.shape[2]] = kept
    return buffer
