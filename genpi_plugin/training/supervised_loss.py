"""The losses of one call's supervised tokens, from a forward pass that ends before the output head.

Logits are computed a chunk at a time, and again in the backward pass instead of being stored; see
`genpi_plugin.reading.head`.
"""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.on_policy.targets import OwnTargets
from genpi_plugin.reading.head import SupervisedHead
from genpi_plugin.reading.layout import ModelCall
from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.divergences import divergences
from genpi_plugin.training.loss import token_loss_sums


def loss_sums(
    head: SupervisedHead,
    model: torch.nn.Module,
    call: ModelCall,
    teacher: Targets | OwnTargets | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy, and divergence from the teacher, summed over supervised tokens, in nats.

    Args:
        head: the model's output head.
        model: the model as the trainer calls it, wrapped or not.
        call: the inputs of the forward pass.
        teacher: targets of all the batch's supervised tokens; without it the divergence is 0.
            Along the student's own answers there is no cross entropy.
    """
    wanted = call.targets != IGNORE_INDEX
    states, targets = head.states(model, call.inputs(), wanted), call.targets[wanted]
    if teacher is not None:
        teacher = teacher.select(call.order)
    # Zeros with a gradient, also where nothing is supervised.
    sums = torch.zeros(2, device=states.device) + states.float().sum() * 0.0
    parts = head.parts(states)
    for part in parts:
        given = (states[part], targets[part], teacher.part(part) if teacher else None)
        if len(parts) > 1 and torch.is_grad_enabled():
            sums = sums + checkpoint(_part_sums, head, *given, use_reentrant=False)
        else:
            sums = sums + _part_sums(head, *given)
    return sums[0], sums[1]


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
