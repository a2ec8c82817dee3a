"""A batch's targets from the rows themselves, where the dataset holds the teacher's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from genpi_plugin.data.row_targets import TARGETS, RowTargets
from genpi_plugin.teacher.targets import Targets


def collated(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """The targets of rows as tensors of a batch; nothing where the rows have none.

    Args:
        rows: prepared rows that have supervised behaviour tokens, in the batch's order.
    """
    read = [RowTargets.read(row) for row in rows if TARGETS[0] in row]
    if not read:
        return {}
    joined = RowTargets.join(read)
    values = (joined.token_ids, joined.logprobs, joined.tail)
    return {name: torch.from_numpy(value) for name, value in zip(TARGETS, values, strict=True)}


def told(inputs: Mapping[str, Any]) -> Targets | None:
    """The targets in a batch, None where there are none."""
    return Targets(*(inputs[name] for name in TARGETS)) if TARGETS[0] in inputs else None
