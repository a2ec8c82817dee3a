"""A batch's sequences -> the tensors of one model call.

Each half of a batch is one call. Two layouts, with equal losses:

* `padded`: one sequence a row, padded on the right. A causal model never looks at what comes
  later, so no attention mask is needed, and SDPA keeps its fast causal kernel.
* `packed`: all sequences in one row, `position_ids` starting anew with each. transformers turns
  those into block-diagonal attention when there is neither an attention mask nor a cache.

Logits are computed for the positions that predict a supervised token, and for no others (padded
rows share their positions, so there the union is computed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from .chat import IGNORE_INDEX

Layout = Literal["padded", "packed"]


@dataclass(frozen=True)
class ModelCall:
    """Inputs of one forward pass and the targets of the logits it returns.

    Shapes: input_ids and position_ids [rows, length], positions [kept], targets [rows, kept].
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor | None
    positions: torch.Tensor
    targets: torch.Tensor

    def run(self, model: torch.nn.Module) -> torch.Tensor:
        """Logits at `positions`: [rows, kept, vocabulary]."""
        inputs = {"input_ids": self.input_ids, "logits_to_keep": self.positions}
        if self.position_ids is not None:
            inputs["position_ids"] = self.position_ids
        # With a cache, transformers would not separate packed sequences, and not say so.
        return model(**inputs, use_cache=False).logits


def make_call(
    input_ids: torch.Tensor, labels: torch.Tensor, lengths: Sequence[int], layout: Layout
) -> ModelCall:
    """Lay out sequences that stand one behind the other.

    Args:
        input_ids: [tokens], the sequences concatenated.
        labels: [tokens], -100 where there is no loss; never a loss on a sequence's first token.
        lengths: tokens of each sequence; at least one sequence.
        layout: see the module's docstring.
    """
    # The logits at a position predict the next token, so labels move one to the left.
    targets = labels.roll(-1)
    ends = torch.tensor(lengths, device=labels.device).cumsum(0) - 1
    targets = targets.index_fill(0, ends, IGNORE_INDEX)
    if layout == "packed" or len(lengths) == 1:
        rows, row_targets = input_ids[None], targets[None]
    else:
        # Padding is any token at all: nothing looks at it and it has no loss.
        rows = _pad(input_ids.split(list(lengths)), 0)
        row_targets = _pad(targets.split(list(lengths)), IGNORE_INDEX)
    position_ids = None
    if layout == "packed" and len(lengths) > 1:
        position_ids = torch.cat([torch.arange(n, device=labels.device) for n in lengths])[None]
    positions = (row_targets != IGNORE_INDEX).any(0).nonzero().flatten()
    return ModelCall(rows, position_ids, positions, row_targets[:, positions])


def _pad(sequences: Sequence[torch.Tensor], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=value)
