"""The losses of one call's supervised tokens, from a forward pass that ends before the output head.

Logits are computed a chunk at a time, and again in the backward pass instead of being stored; see
`genpi_plugin.reading.head`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.on_policy.targets import OwnTargets
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import ModelCall
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.divergences import divergences
from genpi_plugin.training.loss import token_loss_sums


@dataclass(frozen=True)
class Taught:
    """So many of a batch's supervised tokens in a row, and the teacher's targets of them."""

    tokens: int
    teacher: Targets | OwnTargets | None = None


def losses_of(
    head: SupervisedHead, model: torch.nn.Module, call: ModelCall, taught: Sequence[Taught]
) -> torch.Tensor:
    """Cross entropy, and divergence from the teacher, summed over supervised tokens, in nats.

    Args:
        head: the model's output head.
        model: the model as the trainer calls it, wrapped or not.
        call: the inputs of the forward pass.
        taught: the parts of the batch's supervised tokens. Without a teacher a part's divergence
            is 0; along the student's own answers there is no cross entropy.

    Returns: [parts, 2], of those tokens of each part that stand in the call.
    """
    wanted = call.targets != IGNORE_INDEX
    states, targets = head.states(model, call.inputs(), wanted), call.targets[wanted]
    # Zeros with a gradient, also where nothing is supervised.
    nothing = torch.zeros(2, device=states.device) + states.float().sum() * 0.0
    found, start = [], 0
    for part in taught:
        stop = start + part.tokens
        mine = (call.order >= start) & (call.order < stop)
        teacher = part.teacher.select(call.order[mine] - start) if part.teacher else None
        found.append(nothing + _sums(head, states[mine], targets[mine], teacher))
        start = stop
    return torch.stack(found)


def loss_sums(
    head: SupervisedHead,
    model: torch.nn.Module,
    call: ModelCall,
    teacher: Targets | OwnTargets | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`losses_of` a call whose batch is one part: cross entropy and divergence."""
    [found] = losses_of(head, model, call, [Taught(sys.maxsize, teacher)])
    return found[0], found[1]


def _sums(
    head: SupervisedHead,
    states: torch.Tensor,
    targets: torch.Tensor,
    teacher: Targets | OwnTargets | None,
) -> torch.Tensor:
    """[2], a chunk of logits at a time."""
    sums = torch.zeros(2, device=states.device)
    parts = head.parts(states)
    for part in parts:
        given = (states[part], targets[part], teacher.part(part) if teacher else None)
        if len(parts) > 1 and torch.is_grad_enabled():
            sums = sums + checkpoint(_part_sums, head, *given, use_reentrant=False)
        else:
            sums = sums + _part_sums(head, *given)
    return sums


def _part_sums(
    head: SupervisedHead,
    states: torch.Tensor,
    targets: torch.Tensor,
    teacher: Targets | OwnTargets | None,
) -> torch.Tensor:
    logits = head.logits(states)
    if not isinstance(teacher, OwnTargets):
        return token_loss_sums(logits, targets, teacher)
    how = teacher.settings
    truth = teacher.logprobs(head, states.device)
    divergence = divergences(how.divergence, truth, logits.log_softmax(-1), how.beta).sum()
    return torch.stack([torch.zeros_like(divergence), divergence])
