"""From a forward pass to the logits of its supervised tokens.

With a large vocabulary, logits are the largest tensor of a training step: one token's take 0.5 MB
in float32 with 128k entries, and their gradient as much again. Here the model's own forward runs
up to its output head, which is then applied to the supervised positions alone, a chunk at a time;
the backward pass recomputes the logits instead of storing them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

# Logits held at once, in elements: 128 MB in float32, 256 tokens of a vocabulary of 128k.
MAX_LOGITS = 2**25


def take_states_whole(model: Any) -> Callable[[], None]:
    """From now on the output head gets its states in one piece; what is returned undoes that.

    The states of each row's last token are a cut through those of all. On a CPU torch multiplies a
    cut with a copy of the head's matrix for each row. With 32 rows and SmolLM2's vocabulary that
    takes gigabytes, and took 221 times as long in bfloat16, 9 times in float32
    (`benchmarks.first_token`).
    """

    def whole(_: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(each.contiguous() if torch.is_tensor(each) else each for each in args)

    head: torch.nn.Module | None = model.get_output_embeddings()
    return (lambda: None) if head is None else head.register_forward_pre_hook(whole).remove


class SupervisedHead:
    """The output head of a causal LM, applied where there is a loss and nowhere else."""

    def __init__(self, model: Any, standalone: bool = True) -> None:
        """
        Args:
            model: a causal LM, not wrapped.
            standalone: the head's weights may be used outside the model's forward. False where
                processes hold parts of them (ZeRO-3, FSDP); then the forward computes all logits
                of the supervised positions at once.
        """
        self.head: torch.nn.Module = model.get_output_embeddings()
        self.standalone = standalone and self._gives_logits(model)

    def states(
        self, model: torch.nn.Module, inputs: dict[str, Any], wanted: torch.Tensor
    ) -> torch.Tensor:
        """One forward pass; the argument of `logits`, [tokens, any], at the wanted positions.

        Args:
            inputs: keyword arguments of the forward.
            wanted: [rows, length], bool.
        """
        logits, states = self._forward(model, inputs, wanted, self.standalone)
        return states if self.standalone else logits

    def parts(self, states: torch.Tensor) -> list[slice]:
        """Slices of the states, of at most `MAX_LOGITS` logits each."""
        width = states.shape[-1]
        if self.standalone:
            weight = next(self.head.parameters())
            width = getattr(self.head, "out_features", None) or weight.shape[0]
        size = max(1, MAX_LOGITS // width)
        return [slice(start, start + size) for start in range(0, len(states), size)]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits [tokens, vocabulary], float32."""
        return (self.head(states) if self.standalone else states).float()

    def _forward(
        self, model: torch.nn.Module, inputs: dict[str, Any], wanted: torch.Tensor, standalone: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [tokens, vocabulary] and the head's inputs [tokens, hidden], where wanted.

        With `standalone` there are logits of one token only, since the forward needs some.
        """
        captured: list[torch.Tensor] = []
        # Compiled as a whole, a model ignores a hook that is new, or is compiled anew for it.
        model = getattr(model, "_orig_mod", model)

        def select(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            states = args[0][wanted]
            captured.append(states)
            return (states[None, :1] if standalone else states[None], *args[1:])

        hook = self.head.register_forward_pre_hook(select)
        try:
            logits = model(**inputs).logits[0]
        finally:
            hook.remove()
        return logits, captured[0]

    @torch.no_grad()
    def _gives_logits(self, model: Any) -> bool:
        """Whether the model's logits are the head's outputs, not changed afterwards.

        Some models cap or scale their logits after the head. Then the forward must compute them.
        """
        device = next(self.head.parameters()).device
        ids = torch.arange(1, 9, device=device)[None]
        inputs = {"input_ids": ids, "use_cache": False}
        # The model stays in its mode (bitsandbytes converts its weights at the first evaluation
        # pass on a CPU), and the random state is restored after dropout. That of an adapter on the
        # head would tell the two results apart.
        dropouts = [
            module
            for module in self.head.modules()
            if isinstance(module, torch.nn.Dropout) and module.training
        ]
        for module in dropouts:
            module.eval()
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            logits, states = self._forward(
                model, inputs, torch.ones_like(ids).bool(), standalone=False
            )
            again = self.head(states)
        for module in dropouts:
            module.train()
        return torch.equal(logits.float(), again.float())
