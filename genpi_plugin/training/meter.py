"""The parts of the loss and the token counts between two reports to the tracker."""

from __future__ import annotations

from collections.abc import Callable

import torch

from genpi_plugin.args import GenPISettings
from genpi_plugin.on_policy.targets import Own
from genpi_plugin.training.loss import LossSums


class LossMeter:
    """Adds up this rank's loss sums and supervised tokens, and reports means over all ranks."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._losses: torch.Tensor | None = None
        # Supervised tokens of each half, the first without own answers; of requests to keep; own
        # tokens, answers, cuts.
        self._counts = [0] * 6

    def add(self, sums: LossSums, tokens: list[int], own: Own | None = None) -> None:
        """Args: sums (0-dim tensors), supervised tokens (of each half, and of the requests to
        keep) and own answers of one micro-batch."""
        parts = [sums.behaviour, sums.prompt_generation, sums.divergence, sums.own, sums.keep]
        losses = torch.stack(parts).detach().float()
        self._losses = losses if self._losses is None else self._losses + losses
        mine = [own.tokens, own.answers, own.cut] if own else [0, 0, 0]
        counts = [tokens[0] - mine[0], *tokens[1:], *mine]
        self._counts = [old + new for old, new in zip(self._counts, counts, strict=True)]

    def metrics(
        self,
        settings: GenPISettings,
        reduce_sum: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
    ) -> dict[str, float]:
        """Means in nats per supervised token, and the numbers of those tokens.

        A half without a token has no mean. Of the student's own answers, where there are some: the
        divergence along them, the mean of their tokens, and the share that was cut.

        Args:
            settings: metrics of halves that are not trained on are left out.
            reduce_sum: adds a tensor up over all ranks; every rank must call.
        """
        losses = torch.zeros(5, device=device) if self._losses is None else self._losses
        counts = torch.tensor(self._counts, device=device)
        losses, counts = reduce_sum(losses).cpu(), reduce_sum(counts).cpu()
        behaviour, prompt_generation, divergence, own, keep = losses.tolist()
        behaviour_tokens, prompt_generation_tokens, keep_tokens = counts[:3].tolist()
        own_tokens, answers, cut = counts[3:].tolist()
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
        if answers:
            found |= {
                "own_divergence": own / own_tokens,
                "own_tokens": float(own_tokens),
                "own_length": own_tokens / answers,
                "own_cut": cut / answers,
            }
        if keep_tokens:
            found["keep_tokens"] = float(keep_tokens)
            found["keep_divergence"] = keep / keep_tokens
        return found
