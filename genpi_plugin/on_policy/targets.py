"""What the teacher says along the student's answers: the inputs of its output head.

One position's distribution over a vocabulary of 128k entries takes 0.5 MB, its head's input 8 KB.
So the inputs are kept, and the head is applied to a chunk of them beside the student's, in the
loss: every divergence is over the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper

from genpi_plugin.args import OnPolicySettings
from genpi_plugin.reading.head import SupervisedHead


@dataclass(frozen=True)
class OwnTargets:
    """The teacher's head inputs [tokens, any] before each token of the student's answers, on any
    device, and which divergence from it is meant."""

    states: torch.Tensor
    settings: OnPolicySettings

    def select(self, order: torch.Tensor) -> OwnTargets:
        """The positions in `order` ([tokens] indices)."""
        return OwnTargets(self.states[order.to(self.states.device)], self.settings)

    def part(self, part: slice) -> OwnTargets:
        return OwnTargets(self.states[part], self.settings)

    @torch.no_grad()
    def logprobs(self, head: SupervisedHead, device: torch.device) -> torch.Tensor:
        """The teacher's log-probabilities [tokens, vocabulary], float32.

        Args:
            head: of the model in training; an adapter on it is left out.
        """
        states = self.states.to(device)
        logits = without_adapter(head.head)(states) if head.standalone else states
        return logits.float().log_softmax(-1)


@dataclass(frozen=True)
class Own:
    """The student's own answers in a batch: `sequences` behind those of the behaviour half.

    `cut` answers were cut by `max_new_tokens`. `recorded` counts the supervised tokens that stood
    in their place.
    """

    sequences: int
    targets: OwnTargets
    tokens: int
    answers: int
    cut: int
    recorded: int


def without_adapter(head: torch.nn.Module) -> Any:
    """An output head as it is with all adapters off."""
    if isinstance(head, AuxiliaryTrainingWrapper):
        return head.original_module
    return head.get_base_layer() if isinstance(head, BaseTunerLayer) else head


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The states of several sequences, on the CPU."""
    return torch.cat([part.cpu() for part in parts]) if parts else torch.empty(0)
