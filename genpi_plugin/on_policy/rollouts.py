"""The student answers: sampled, without the prompt, from its weights of the moment.

Each answer has random numbers of its own, named by the seed, the step, the row and the turn. So it
does not depend on the requests beside it or on the process it is given in, but for rounding.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from genpi_plugin.args import OnPolicySettings
from genpi_plugin.on_policy.store import Rollout
from genpi_plugin.reading.agreement import base_of
from genpi_plugin.reading.prefix import PrefixCache
from genpi_plugin.reading.writing import answers


class Student:
    """The model in training as it answers requests."""

    def __init__(
        self, settings: OnPolicySettings, ends: Sequence[int], pad_id: int, seed: int
    ) -> None:
        """
        Args:
            ends: tokens that end an answer.
            pad_id: any token.
            seed: of the run.
        """
        self.settings = settings
        self.ends = sorted(set(ends))
        self.pad_id = pad_id
        self.seed = seed

    def mark(self, model: Any) -> str:
        """A digest of what its answers depend on besides the requests: weights and settings."""
        how = self.settings.model_dump(include={"temperature", "max_new_tokens"})
        digest = hashlib.sha256(json.dumps([how, self.ends, self.seed]).encode())
        for name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                values = parameter.detach().float().contiguous().cpu().numpy()
                digest.update(name.encode() + values.tobytes())
        return digest.hexdigest()[:32]

    def answer(
        self,
        model: Any,
        requests: Sequence[list[int]],
        names: Sequence[tuple[int, str, int]],
        advance: Callable[[int], Any] = lambda count: None,
    ) -> Iterator[dict[int, Rollout]]:
        """Answers by the requests' places, some at a time.

        Args:
            model: in training, not wrapped, its adapter on; its mode is kept.
            names: of each request (step, row, turn), for its random numbers.
            advance: called with the number of requests answered, after each batch.
        """
        settings = self.settings
        base = base_of(model)
        longest = max(map(len, requests), default=0) + settings.max_new_tokens

        def how(batch: list[int]) -> dict[str, Any]:
            draws = [self._random(names[place]) for place in batch]
            own = _OwnDraws(settings.temperature, draws)
            return {"do_sample": False, "logits_processor": LogitsProcessorList([own])}

        with _answering(model):
            prefix = PrefixCache(base, requests, longest=longest, generating=True)
            for made in answers(
                base, prefix, requests, settings.max_new_tokens, self.ends, self.pad_id,
                settings.batch_size, how,
            ):  # fmt: skip
                yield {
                    place: Rollout(ids, cut=ids[-1] not in self.ends) for place, ids in made.items()
                }
                advance(len(made))

    def _random(self, name: tuple[int, str, int]) -> random.Random:
        return random_of(self.seed, "answer", *name)


def random_of(*name: Any) -> random.Random:
    """Random numbers that depend on a name alone."""
    return random.Random(hashlib.sha256(json.dumps(name).encode()).digest())


@contextlib.contextmanager
def _answering(model: Any) -> Iterator[None]:
    """No dropout, no gradients, and only our settings of how a token is chosen, not those that the
    model's folder recommends."""
    base, training = base_of(model), model.training
    recommended, base.generation_config = base.generation_config, GenerationConfig()
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        base.generation_config = recommended
        model.train(training)


class _OwnDraws(LogitsProcessor):
    """Leaves `generate` the one token that a row's next random number chooses.

    The draw goes through the vocabulary in its own order, not by rank: two tokens that change ranks
    by rounding do not change it.
    """

    def __init__(self, temperature: float, draws: Sequence[random.Random]) -> None:
        self.temperature = temperature
        self.draws = draws

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.temperature == 0:
            return scores
        summed = (scores.float() / self.temperature).softmax(-1).double().cumsum(-1)
        draws = torch.tensor([[draw.random()] for draw in self.draws], dtype=torch.float64)
        draws = draws.to(scores.device) * summed[:, -1:]
        chosen = torch.searchsorted(summed, draws, right=True)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)
