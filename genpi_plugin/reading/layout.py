"""A batch's sequences -> the tensors of its model calls.

Three layouts, with equal losses:

* `bucketed`: sequences of similar length share a call, one per row, padded on the right. A causal
  model never attends to later tokens, so no attention mask is needed and SDPA keeps its fast causal
  kernel. The layout for attention kernels that can't separate packed sequences.
* `padded`: the same in one call, for models whose processes must all make as many calls.
* `packed`: all sequences in one row, `position_ids` restarting with each. transformers turns
  those into block-diagonal attention when there is neither an attention mask nor a cache; flash
  attention does that at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from genpi_plugin.data.chat import IGNORE_INDEX

Layout = Literal["bucketed", "padded", "packed"]
# Sequences share a call as long as padding is at most this share of its tokens ...
PADDING = 0.1
# ... or the call is so small that its fixed cost outweighs the padding.
SMALL_CALL = 512


@dataclass(frozen=True)
class ModelCall:
    """Inputs of one forward pass, and the targets of its logits.

    Shapes: input_ids, position_ids and targets [rows, length]; targets are -100 where there is
    no loss. order [supervised]: the indices of the call's supervised tokens among the batch's,
    row after row.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor | None
    targets: torch.Tensor
    order: torch.Tensor

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model's forward."""
        # With a cache, transformers would silently not separate packed sequences.
        inputs: dict[str, Any] = {"input_ids": self.input_ids, "use_cache": False}
        if self.position_ids is not None:
            inputs["position_ids"] = self.position_ids
        return inputs


def make_calls(
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    lengths: Sequence[int],
    layout: Layout,
    parts: Sequence[Sequence[int]] | None = None,
) -> list[ModelCall]:
    """Lay out concatenated sequences.

    Args:
        input_ids: [tokens], the sequences concatenated.
        labels: [tokens], -100 where there is no loss; a sequence's first token never has one.
        lengths: tokens of each sequence. If empty, there is one call of one token without loss.
        layout: see the module's docstring.
        parts: which sequences (indices) may stand in one call; without it, all.
    """
    if not lengths:
        ids = torch.zeros((1, 1), dtype=torch.long, device=input_ids.device)
        return [ModelCall(ids, None, ids + IGNORE_INDEX, ids[0, :0])]
    # The logits at a position predict the next token, so labels move one to the left.
    ends = torch.tensor(lengths, device=labels.device).cumsum(0) - 1
    targets = labels.roll(-1).index_fill(0, ends, IGNORE_INDEX)
    ids_of, targets_of = input_ids.split(list(lengths)), targets.split(list(lengths))
    counts = [int((part != IGNORE_INDEX).sum()) for part in targets_of]
    order_of = torch.arange(sum(counts), device=labels.device).split(counts)
    groups = [list(part) for part in parts] if parts else [list(range(len(lengths)))]
    if layout == "bucketed":
        groups = [
            [part[i] for i in bucket]
            for part in groups
            for bucket in buckets([lengths[i] for i in part])
        ]
    join = _pack if layout == "packed" else _pad
    # Padding may be any token: nothing attends to it and it has no loss.
    return [
        ModelCall(
            join([ids_of[i] for i in group], 0),
            _positions([lengths[i] for i in group], labels.device) if layout == "packed" else None,
            join([targets_of[i] for i in group], IGNORE_INDEX),
            torch.cat([order_of[i] for i in group]),
        )
        for group in groups
    ]


def buckets(lengths: Sequence[int]) -> list[list[int]]:
    """Which sequences share a call: indices, longest first, with little padding (`PADDING`)."""
    groups: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups:
            padded = (len(groups[-1]) + 1) * lengths[groups[-1][0]]
            if padded <= SMALL_CALL or padded - real - lengths[index] <= PADDING * padded:
                groups[-1].append(index)
                real += lengths[index]
                continue
        groups.append([index])
        real = lengths[index]
    return groups


def _pad(sequences: Sequence[torch.Tensor], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=value)


def _pack(sequences: Sequence[torch.Tensor], _: int) -> torch.Tensor:
    return torch.cat(list(sequences))[None]


def _positions(lengths: Sequence[int], device: torch.device) -> torch.Tensor | None:
    """Positions [1, tokens] that restart with each sequence; None for a single one."""
    starts = [torch.arange(length, device=device) for length in lengths]
    return torch.cat(starts)[None] if len(starts) > 1 else None
