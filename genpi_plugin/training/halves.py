"""The halves of a micro-batch, and their losses from calls of the model that they share.

Worked example, `bucketed`. Two rows with an answer each, one of them with a recital, and a request
to keep; lengths in brackets:

    halves   behaviour [110, 95], prompt generation [640], keep [84]
    calls    [640] and [110, 95, 84]: a call costs the same for few tokens as for some more
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.on_policy.targets import OwnTargets
from genpi_plugin.reading.capabilities import Together, begin, split
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import Layout, make_calls
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.supervised_loss import Taught, losses_of


@dataclass(frozen=True)
class Half:
    """Sequences with a loss of their own: also the student's own answers and requests to keep.

    Attributes:
        input_ids, labels: [tokens], the sequences concatenated.
        lengths: tokens of each; without any, the half is empty.
        teacher: of all their supervised tokens.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    lengths: list[int]
    teacher: Targets | OwnTargets | None = None

    @property
    def supervised(self) -> int:
        return int((self.labels != IGNORE_INDEX).sum())


@dataclass(frozen=True)
class HalfSums:
    """Over a half's supervised tokens, in nats."""

    cross_entropy: torch.Tensor
    divergence: torch.Tensor


def half_sums(
    head: SupervisedHead,
    model: torch.nn.Module,
    unwrapped: Any,
    halves: Mapping[str, Half],
    layout: Layout,
    together: Together,
) -> dict[str, HalfSums]:
    """The losses of halves, by their names.

    All halves share calls, but for the layout `padded`, which has a call for each, also for one
    without sequences: there all processes must make as many.

    Args:
        model: as the trainer calls it, wrapped or not.
        unwrapped: the same without wrappers.
        layout, together: see `training_layout`.
    """
    groups = [[name] for name in halves] if layout == "padded" else [list(halves)]
    found: dict[str, HalfSums] = {}
    for names in groups:
        group = [halves[name] for name in names]
        lengths = [length for half in group for length in half.lengths]
        ids = torch.cat([half.input_ids for half in group])
        labels = torch.cat([half.labels for half in group])
        taught = [Taught(half.supervised, half.teacher) for half in group]
        calls = make_calls(ids, labels, lengths, layout, split(unwrapped, lengths, together))
        sums = []
        for call in calls:
            begin(unwrapped, call.input_ids.shape[1])
            sums.append(losses_of(head, model, call, taught))
        total = torch.stack(sums).sum(0)
        found |= {name: HalfSums(*of) for name, of in zip(names, total, strict=True)}
    return found
