"""Whole sequences -> what the output head is given before each supervised token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.reading import capabilities
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.prefix import PrefixCache


def supervised_states(
    model: Any,
    head: SupervisedHead,
    prefix: PrefixCache,
    sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> torch.Tensor:
    """Read sequences in as many calls as the model needs to read each as if by itself.

    Args:
        head: the model's output head.
        prefix: what all sequences begin with, as far as it is held.
        sequences: token ids and labels of each.

    Returns: [supervised tokens, any], sequence after sequence; the argument of `head.logits`.
    """
    found: dict[int, torch.Tensor] = {}
    for places in prefix.calls([len(ids) for ids, _ in sequences]):
        batch = [sequences[place] for place in places]
        capabilities.begin(model, max(len(ids) for ids, _ in batch))
        inputs = prefix.inputs([ids for ids, _ in batch])
        wanted = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
        for row, (_, labels) in enumerate(batch):
            # The position before a supervised token predicts it.
            rest = torch.tensor(labels[len(prefix) + 1 :])
            wanted[row, : len(rest)] = (rest != IGNORE_INDEX).to(wanted.device)
        with prefix.reading():
            states = head.states(model, inputs, wanted)
        counts = wanted.sum(-1).tolist()
        found |= dict(zip(places, states.split(counts), strict=True))
    return torch.cat([found[place] for place in range(len(sequences))])
