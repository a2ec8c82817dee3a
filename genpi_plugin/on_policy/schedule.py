"""Which steps are on policy, and how many of them share one state of the student's answers.

Worked example. 3 epochs of 10 steps, the last 1.5 on policy, refreshed every 6 steps:

    step     0 ... 14 | 15 16 17 18 19 | 20 | 21 22 23 24 25 26 | 27 28 29
    window   none     | 15             | 20 | 21                | 27

The student answers at the first step of each window. A window ends with the epoch, too, because the
rows of the next one are drawn anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The steps of a run: `first` on policy, `last` (the run's end, exclusive), steps an epoch,
    and after how many steps the answers are refreshed."""

    first: int
    last: int
    per_epoch: int
    refresh: int

    @classmethod
    def of(cls, epochs: float, refresh: int, last: int, per_epoch: int) -> Schedule:
        """The last `epochs` of a run of `last` steps; at least one step."""
        count = max(1, math.ceil(epochs * per_epoch - 1e-6))
        return cls(max(0, last - count), last, per_epoch, refresh)

    @property
    def whole(self) -> bool:
        """Whether every step is on policy."""
        return self.first == 0

    def window(self, step: int) -> range | None:
        """The steps that share their answers with a step; None where it is off policy."""
        if step < self.first:
            return None
        begin = self.first + (step - self.first) // self.refresh * self.refresh
        epoch = step // self.per_epoch * self.per_epoch
        return range(
            max(begin, epoch), min(begin + self.refresh, epoch + self.per_epoch, self.last)
        )
