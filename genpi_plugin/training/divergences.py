"""How far a student's distributions are from its teacher's, over the whole vocabulary."""

from __future__ import annotations

import math
from typing import Literal

import torch

Divergence = Literal["forward", "reverse", "jsd"]


def divergences(
    kind: Divergence, teacher: torch.Tensor, student: torch.Tensor, beta: float = 0.5
) -> torch.Tensor:
    """The divergence at each position, in nats, [tokens].

    `forward` is KL(teacher || student), `reverse` KL(student || teacher), `jsd` the generalized
    Jensen-Shannon divergence of Agarwal et al. (arXiv 2306.13649, eq. 1):
    beta KL(teacher || M) + (1 - beta) KL(student || M), M = beta teacher + (1 - beta) student.

    Args:
        teacher, student: log-probabilities [tokens, vocabulary].
        beta: of `jsd`, between 0 and 1.
    """
    if kind == "forward":
        return _kl(teacher, student)
    if kind == "reverse":
        return _kl(student, teacher)
    middle = torch.logaddexp(teacher + math.log(beta), student + math.log(1 - beta))
    return beta * _kl(teacher, middle) + (1 - beta) * _kl(student, middle)


def _kl(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left.exp() * (left - right)).sum(-1)
