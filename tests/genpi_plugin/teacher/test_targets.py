"""The teacher's distribution cut to its top k: the divergence by hand and against torch's."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from genpi_plugin.teacher.targets import Targets
from genpi_plugin.training.loss import token_loss_sums


def divergence_sum(logits: torch.Tensor, teacher: Targets) -> torch.Tensor:
    """The divergence alone; it depends on no target."""
    return token_loss_sums(logits, torch.zeros(len(logits), dtype=torch.long), teacher)[1]


def test_divergence_by_hand_with_a_tail():
    teacher = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    mine = torch.tensor([[0.25, 0.25, 0.4, 0.1]]).log()
    whole = 0.5 * math.log(0.5 / 0.25) + 0.125 * math.log(0.125 / 0.4)
    whole += 0.125 * math.log(0.125 / 0.1)
    # Two tokens one by one, and 0.25 against 0.5 for all others.
    cut = 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.5)
    assert divergence_sum(mine, Targets.of(teacher, None)).item() == pytest.approx(whole)
    assert divergence_sum(mine, Targets.of(teacher, 2)).item() == pytest.approx(cut, abs=1e-7)


def test_a_cut_distribution_asks_for_nothing_that_the_teacher_does_not():
    """At the teacher's own distribution, divergence and gradient vanish for every k."""
    torch.manual_seed(0)
    logits = torch.randn(5, 64, requires_grad=True)
    for top_k in (1, 8, 63, 64, None):
        targets = Targets.of(logits.detach(), top_k)
        loss = divergence_sum(logits, targets)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == pytest.approx(0.0, abs=1e-5)
        assert gradient.abs().max() < 1e-6


def test_a_larger_k_comes_nearer_to_the_whole_divergence():
    torch.manual_seed(0)
    teacher, mine = torch.randn(6, 64) * 2, torch.randn(6, 64)
    found = [divergence_sum(mine, Targets.of(teacher, k)).item() for k in (1, 4, 16, 62, None)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(
        F.kl_div(
            mine.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="sum"
        ).item(),
        rel=1e-5,
    )
