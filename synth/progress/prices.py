"""What answers cost, where the user gives prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Prices:
    """Per million tokens, in whatever currency; None where no price was given.

    The generator's are the target's unless given: usually it is the same model.
    """

    target_in: float | None = None
    target_out: float | None = None
    generator_in: float | None = None
    generator_out: float | None = None

    def of(self, tokens: Mapping[str, tuple[int, int]]) -> float | None:
        """The cost of (tokens in, tokens out) by role; None where no price was given."""
        if all(price is None for price in asdict(self).values()):
            return None
        generator_in = self.target_in if self.generator_in is None else self.generator_in
        generator_out = self.target_out if self.generator_out is None else self.generator_out
        price = {
            "target": (self.target_in, self.target_out),
            "generator": (generator_in, generator_out),
        }
        return sum(
            count * (each or 0.0) / 1e6
            for role, counts in tokens.items()
            for count, each in zip(counts, price[role], strict=True)
        )
