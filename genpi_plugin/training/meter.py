"""The parts of the loss and the token counts between two reports to the tracker."""

from __future__ import annotations

from collections.abc import Callable

import torch

from genpi_plugin.args import GenPISettings
from genpi_plugin.training.loss import LossSums


class LossMeter:
    """Adds up this rank's loss sums and supervised tokens, and reports means over all ranks."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._losses: torch.Tensor | None = None
        self._tokens = [0, 0, 0]

    def add(self, sums: LossSums, tokens: list[int]) -> None:
        """Args: sums (0-dim tensors) and supervised tokens of one micro-batch: of each half, and of
        the requests to keep."""
        parts = [sums.behaviour, sums.prompt_generation, sums.divergence, sums.keep]
        losses = torch.stack(parts).detach().float()
        self._losses = losses if self._losses is None else self._losses + losses
        self._tokens = [old + new for old, new in zip(self._tokens, tokens, strict=True)]

    def metrics(
        self,
        settings: GenPISettings,
        reduce_sum: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
    ) -> dict[str, float]:
        """Means in nats per supervised token, and the numbers of those tokens.

        A half without a token has no mean.

        Args:
            settings: metrics of halves that are not trained on are left out.
            reduce_sum: adds a tensor up over all ranks; every rank must call.
        """
        losses = torch.zeros(4, device=device) if self._losses is None else self._losses
        counts = torch.tensor(self._tokens, device=device)
        losses, counts = reduce_sum(losses).cpu(), reduce_sum(counts).cpu()
        behaviour, prompt_generation, divergence, keep = losses.tolist()
        behaviour_tokens, prompt_generation_tokens, keep_tokens = counts.tolist()
        found: dict[str, float] = {}
        if settings.trains_behaviour:
            found["behaviour_tokens"] = float(behaviour_tokens)
            if behaviour_tokens:
                found["behaviour_loss"] = behaviour / behaviour_tokens
        if settings.distills and behaviour_tokens:
            found["divergence"] = divergence / behaviour_tokens
        if settings.trains_prompt_generation:
            found["prompt_generation_tokens"] = float(prompt_generation_tokens)
            if prompt_generation_tokens:
                found["prompt_generation_loss"] = prompt_generation / prompt_generation_tokens
        if keep_tokens:
            found["keep_tokens"] = float(keep_tokens)
            found["keep_divergence"] = keep / keep_tokens
        return found
