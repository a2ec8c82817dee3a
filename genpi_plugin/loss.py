"""Contract 3: the joint loss. Pure torch.

    L = w / N_b * sum CE(behaviour tokens) + (1 - w) / N_p * sum CE(prompt-generation tokens)

N_b and N_p count the supervised tokens of the whole optimizer step, over all accumulation
micro-batches and all data-parallel ranks, so the shape of a batch does not change the loss. With
one micro-batch on one device it equals kaistAI/GenPI's
`(1 - stage2_ratio) * stage1_loss + stage2_ratio * stage2_loss` (finetune.py, MixtureTrainer) with
w = stage2_ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .chat import IGNORE_INDEX


@dataclass(frozen=True)
class HalfSums:
    """One value per half: sums of cross entropy in nats, or counts of supervised tokens."""

    behaviour: torch.Tensor | float
    prompt_generation: torch.Tensor | float


def cross_entropy_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum of cross entropy over supervised positions, in nats, in float32.

    Args:
        logits: [rows, positions, vocabulary]; logits at a position predict its target.
        targets: [rows, positions], -100 where there is no loss.

    Returns:
        A scalar, 0 with a gradient of zeros when nothing is supervised. In plain torch:
        `F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")`.
    """
    supervised = targets != IGNORE_INDEX
    return F.cross_entropy(logits[supervised].float(), targets[supervised], reduction="sum")


def joint_loss(sums: HalfSums, counts: HalfSums, sft_weight: float) -> torch.Tensor | float:
    """Weigh the two halves' mean losses.

    Args:
        sums: sums of cross entropy over the tokens at hand.
        counts: supervised tokens of the whole optimizer step, not only of those at hand.
        sft_weight: w, the weight of the behaviour half, in [0, 1].

    Returns:
        The share of the step's joint loss that the tokens at hand bring; shares add up to it.
        A half without tokens in the whole step brings nothing.
    """
    behaviour = sums.behaviour / max(counts.behaviour, 1)
    prompt_generation = sums.prompt_generation / max(counts.prompt_generation, 1)
    return sft_weight * behaviour + (1.0 - sft_weight) * prompt_generation
