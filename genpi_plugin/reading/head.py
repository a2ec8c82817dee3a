"""From a forward pass to the logits of its supervised tokens.

Of a large vocabulary, logits are the largest tensor of a training step: one token's take 0.5 MB in
float32 with 128k entries, and their gradient as much again. Here the model's own forward goes up to
its output head, which then sees the supervised positions alone, a chunk at a time, and again in the
backward pass instead of being remembered.
"""

from __future__ import annotations

from typing import Any

import torch

# Logits held at once, in elements: 128 MB in float32, 256 tokens of a vocabulary of 128k.
MAX_LOGITS = 2**25


class SupervisedHead:
    """The output head of a causal LM, applied where there is a loss and nowhere else."""

    def __init__(self, model: Any, apart: bool = True) -> None:
        """
        Args:
            model: a causal LM, not wrapped.
            apart: the head's weights may be used outside the model's forward. Not so where
                processes hold parts of them (ZeRO-3, FSDP); then the forward makes all logits of
                the supervised positions at once.
        """
        self.head: torch.nn.Module = model.get_output_embeddings()
        self.apart = apart and self._gives_logits(model)

    def states(
        self, model: torch.nn.Module, inputs: dict[str, Any], wanted: torch.Tensor
    ) -> torch.Tensor:
        """One forward pass; what `logits` takes, [tokens, any], at the wanted positions.

        Args:
            inputs: keyword arguments of the forward.
            wanted: [rows, length], bool.
        """
        logits, states = self._forward(model, inputs, wanted, self.apart)
        return states if self.apart else logits

    def parts(self, states: torch.Tensor) -> list[slice]:
        """Slices of the states whose logits are not too many at once."""
        width = states.shape[-1]
        if self.apart:
            weight = next(self.head.parameters())
            width = getattr(self.head, "out_features", None) or weight.shape[0]
        size = max(1, MAX_LOGITS // width)
        return [slice(start, start + size) for start in range(0, len(states), size)]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits [tokens, vocabulary], float32."""
        return (self.head(states) if self.apart else states).float()

    def _forward(
        self, model: torch.nn.Module, inputs: dict[str, Any], wanted: torch.Tensor, apart: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [tokens, vocabulary] and what the head saw, [tokens, hidden], where wanted.

        With `apart` the logits are of one token: the forward has to end somehow.
        """
        seen: list[torch.Tensor] = []

        def select(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            states = args[0][wanted]
            seen.append(states)
            return (states[None, :1] if apart else states[None], *args[1:])

        hook = self.head.register_forward_pre_hook(select)
        try:
            logits = model(**inputs).logits[0]
        finally:
            hook.remove()
        return logits, seen[0]

    @torch.no_grad()
    def _gives_logits(self, model: Any) -> bool:
        """Whether logits are what the head gives, and nothing is done to them afterwards.

        Some models cap or scale their logits behind the head. Then the forward must make them.
        """
        device = next(self.head.parameters()).device
        ids = torch.arange(1, 9, device=device)[None]
        inputs = {"input_ids": ids, "use_cache": False}
        # The model stays in its mode (bitsandbytes converts its weights at a CPU's first pass for
        # evaluation), and dropout draws nothing that training would miss.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            logits, states = self._forward(model, inputs, torch.ones_like(ids).bool(), apart=False)
            again = self.head(states)
        return torch.equal(logits.float(), again.float())
