"""The student answers: sampled, without the prompt, from its weights of the moment.

Each answer has random numbers of its own, named by the seed, the step, the row and the turn. So it
does not depend on the requests beside it or on the process it is given in, but for rounding.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from genpi_plugin.args import OnPolicySettings
from genpi_plugin.on_policy.store import Rollout
from genpi_plugin.reading.generation import sampled


class Student:
    """The model in training as it answers requests."""

    def __init__(
        self,
        settings: OnPolicySettings,
        ends: Sequence[int],
        pad_id: int,
        seed: int,
        base: str = "",
    ) -> None:
        """
        Args:
            ends: tokens that end an answer.
            pad_id: any token.
            seed: of the run.
            base: a digest of the base model.
        """
        self.settings = settings
        self.ends = sorted(set(ends))
        self.pad_id = pad_id
        self.seed = seed
        self.base = base

    @property
    def how(self) -> str:
        """A digest of what its answers depend on besides the requests and its trained weights."""
        how = self.settings.model_dump(include={"temperature", "max_new_tokens"})
        facts = json.dumps([how, self.ends, self.seed, self.base])
        return hashlib.sha256(facts.encode()).hexdigest()[:32]

    @staticmethod
    def weights(model: Any) -> str:
        """A digest of the weights in training."""
        digest = hashlib.sha256()
        for name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                values = parameter.detach().float().contiguous().cpu().numpy()
                digest.update(name.encode() + values.tobytes())
        return digest.hexdigest()[:32]

    def try_out(self, model: Any) -> None:
        """Before the first step; every rank must call. Nothing to do in this process."""

    def answer(
        self,
        model: Any,
        requests: Sequence[list[int]],
        names: Sequence[tuple[int, str, int]],
        done: Callable[[int, Rollout], Any],
    ) -> None:
        """Answer requests.

        Args:
            model: in training, not wrapped, its adapter on; its mode is kept.
            names: of each request (step, row, turn), for its random numbers.
            done: called with a request's place and its answer as soon as that is there.
        """
        settings = self.settings
        sampled(
            model,
            requests,
            [seed_of(self.seed, "answer", *name) for name in names],
            settings.max_new_tokens,
            self.ends,
            self.pad_id,
            settings.temperature,
            settings.batch_size,
            lambda place, ids: done(place, Rollout(ids, cut=ids[-1] not in self.ends)),
        )


def random_of(*name: Any) -> random.Random:
    """Random numbers that depend on a name alone."""
    return random.Random(seed_of(*name))


def seed_of(*name: Any) -> bytes:
    """32 bytes for a name."""
    return hashlib.sha256(json.dumps(name).encode()).digest()
