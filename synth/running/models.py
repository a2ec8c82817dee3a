"""The two models of a run: target and generator."""

from __future__ import annotations

from dataclasses import dataclass

from synth.engines.base import Engine

# Rows under way at once: enough to fill any batch, few enough to hold in memory.
IN_FLIGHT = 256
# And as many for each request that the models can work on: a row that waits for one answer leaves
# its place to others.
ROWS_A_PLACE = 4


@dataclass(frozen=True)
class Models:
    """Who answers. Floor and teacher are the target; the generator does the rest. `tokens` says
    whether the target's tokenizer is known, so that its answers' tokens are kept."""

    target: Engine
    generator: Engine
    tokens: bool = False

    @property
    def rows_in_flight(self) -> int:
        """How many rows keep both models busy."""
        places = max(self.target.capacity, self.generator.capacity)
        return max(IN_FLIGHT, ROWS_A_PLACE * places)

    def waiting(self) -> list[str]:
        """What is waited for, for the user; nothing while both answer."""
        engines = dict.fromkeys([self.target, self.generator])
        return [words for engine in engines if (words := engine.waiting) is not None]
