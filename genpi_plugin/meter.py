"""Both halves' losses and token counts, between two reports to the tracker."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .args import GenPISettings
from .loss import HalfSums


class HalfMeter:
    """Adds up cross entropy and supervised tokens here, and reports means over all ranks."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._losses: torch.Tensor | None = None
        self._tokens = [0, 0]

    def add(self, sums: HalfSums, tokens: list[int]) -> None:
        """Args: cross-entropy sums (0-dim tensors) and supervised tokens of one micro-batch."""
        losses = torch.stack([sums.behaviour, sums.prompt_generation]).detach().float()
        self._losses = losses if self._losses is None else self._losses + losses
        self._tokens = [old + new for old, new in zip(self._tokens, tokens, strict=True)]

    def metrics(
        self,
        settings: GenPISettings,
        reduce_sum: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
    ) -> dict[str, float]:
        """Mean loss in nats per supervised token and the number of those tokens, for each half.

        Args:
            settings: halves that it does not train on are left out.
            reduce_sum: adds a tensor up over all ranks; every rank must call.
        """
        losses = torch.zeros(2, device=device) if self._losses is None else self._losses
        counts = torch.tensor(self._tokens, device=device)
        losses, counts = reduce_sum(losses).cpu(), reduce_sum(counts).cpu()
        means = losses / counts.clamp(min=1)
        found = {}
        halves = {
            "behaviour": settings.trains_behaviour,
            "prompt_generation": settings.trains_prompt_generation,
        }
        for place, (half, trained) in enumerate(halves.items()):
            if trained:
                found[f"{half}_loss"] = float(means[place])
                found[f"{half}_tokens"] = float(counts[place])
        return found
