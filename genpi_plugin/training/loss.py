"""Contract 3: the joint loss. Pure torch.

    L = w / N_b * sum CE(behaviour tokens) + (1 - w) / N_p * sum CE(prompt-generation tokens)
        + d / N_b * sum KL(teacher || student) over the behaviour tokens
        + k / N_k * sum KL(reference || student) over the tokens of requests to keep

On policy (`genpi.on_policy`) the student's own answers take the place of recorded ones: their
tokens are behaviour tokens without a cross entropy, with the divergence that the settings name.

N_b, N_p and N_k count the supervised tokens of the whole optimizer step, over all accumulation
micro-batches and all data-parallel ranks, so the shape of a batch does not change the loss. Where
only a share of the rows recites, N_p is what a step with N_b behaviour tokens has on average. With
one micro-batch on one device it equals kaistAI/GenPI's
`(1 - stage2_ratio) * stage1_loss + stage2_ratio * stage2_loss` (finetune.py, MixtureTrainer) with
w = stage2_ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from genpi_plugin.teacher.targets import Targets


@dataclass(frozen=True)
class LossSums:
    """Sums over tokens, in nats: cross entropy of each half, divergence of the behaviour half, and
    divergence along the student's own answers, and that of the requests to keep."""

    behaviour: torch.Tensor | float
    prompt_generation: torch.Tensor | float
    divergence: torch.Tensor | float = 0.0
    own: torch.Tensor | float = 0.0
    keep: torch.Tensor | float = 0.0


@dataclass(frozen=True)
class TokenCounts:
    """Supervised tokens of each half, and of the requests to keep; `recorded` are those of the
    behaviour half before the student's own answers took the place of some."""

    behaviour: float
    prompt_generation: float
    recorded: float = 0.0
    keep: float = 0.0


def token_loss_sums(
    logits: torch.Tensor, targets: torch.Tensor, teacher: Targets | None = None
) -> torch.Tensor:
    """Cross entropy, and KL(teacher || student), each summed over tokens, in nats; shape [2].

    Both distributions of the divergence are over the teacher's k most likely tokens and one bucket
    for all others, so it is at most the divergence over the whole vocabulary, and 0 for equal ones.

    One log-softmax serves both parts, and no function of `torch.nn.functional` does: libraries
    replace those by kernels that write into their input (Liger's cross entropy), and whoever reads
    the logits after such a kernel reads gradients.

    Args:
        logits: the student's, [tokens, vocabulary], float32; each predicts its target.
        targets: [tokens].
        teacher: of the same tokens; without it the divergence is 0.
    """
    logprobs = logits.log_softmax(-1)
    if teacher is None:
        cross_entropy = -logprobs.gather(-1, targets[:, None]).sum()
        return torch.stack([cross_entropy, torch.zeros_like(cross_entropy)])
    token_ids = teacher.token_ids.long()
    # Gathered at once, because each gather's gradient is as large as the logits.
    own, head = logprobs.gather(-1, torch.cat([targets[:, None], token_ids], -1)).tensor_split(
        [1], -1
    )
    divergence = (teacher.logprobs.exp() * (teacher.logprobs - head)).sum()
    if token_ids.shape[-1] < logits.shape[-1]:
        tail = logprobs.scatter(-1, token_ids, -torch.inf).logsumexp(-1)
        divergence = divergence + (teacher.tail.exp() * (teacher.tail - tail)).sum()
    return torch.stack([-own.sum(), divergence])


def joint_loss(
    sums: LossSums,
    counts: TokenCounts,
    sft_weight: float,
    distill_weight: float = 0.0,
    keep_weight: float = 0.0,
) -> torch.Tensor | float:
    """The weighted sum of the mean losses.

    Args:
        sums: over the tokens at hand.
        counts: supervised tokens of the whole optimizer step, not only of those at hand.
        sft_weight: w, the weight of the behaviour half, in [0, 1].
        distill_weight: d, the weight of the divergence, 0 or more.
        keep_weight: k, the weight of the requests to keep, 0 or more.

    Returns:
        The contribution of the tokens at hand to the step's joint loss; contributions add up to
        it. A half without tokens in the whole step contributes nothing.
    """
    behaviour = sums.behaviour / max(counts.behaviour, 1)
    prompt_generation = sums.prompt_generation / max(counts.prompt_generation, 1)
    divergence = (sums.divergence + sums.own) / max(counts.behaviour, 1)
    keep = sums.keep / max(counts.keep, 1)
    return (
        sft_weight * behaviour
        + (1.0 - sft_weight) * prompt_generation
        + distill_weight * divergence
        + keep_weight * keep
    )
