"""How long a run has yet to go, from what its rows took so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

# Rows that a stage must have finished before its tokens per row are believed.
ENOUGH = 3
# How much of its conversation a row under way is taken to have had: the first rows to end are those
# with short conversations, and tokens are counted when an answer is whole.
UNDER_WAY = 0.25
# The pace is that of the last minute, or of the last third of the run where that is longer.
WINDOW = 60.0


@dataclass(frozen=True)
class StageWork:
    """A stage so far: rows that passed, rows that did not, and the tokens written for both.

    `skipped` of those that passed asked for nothing there.
    """

    passed: int
    lost: int
    tokens: int
    skipped: int = 0


# Which stages a row is through before each of the shipped ones, by place.
SHIPPED_WAITS = ((), (0,), (0, 1), (0, 1))


def tokens_to_go(
    total: int,
    stages: Sequence[StageWork],
    waits: Sequence[Collection[int]] = SHIPPED_WAITS,
) -> int | None:
    """Tokens that are yet to be written, before `total` rows have gone through all stages.

    The first stage goes on until `total` texts have passed; each later one sees the rows that
    passed those it waits for. A row under way counts as a part of a row in the last stage, where it
    may have had some of its answers, and as none in the others.

    Args:
        total: rows wanted.
        stages: in order; a row is finished when it is through the last.
        waits: for each stage, the places of those that a row is through before it; the others run
            beside it.

    Returns:
        None as long as some stage has seen too few rows, or none that asked for something.
    """
    if any(stage.passed < min(ENOUGH, total) for stage in stages):
        return None
    last = len(stages) - 1
    left = stages[0].tokens / stages[0].passed * max(total - stages[0].passed, 0)
    for place, stage in enumerate(stages[1:], start=1):
        before = [stages[other] for other in waits[place] if other]
        reach = total * math.prod(one.passed / (one.passed + one.lost) for one in before)
        reached = min(one.passed for one in (stages[0], *before))
        seen = stage.passed + stage.lost
        if place == last:
            # A row that is lost in a stage beside the last (for its reason) has had its
            # conversation by then.
            seen += sum(stages[other].lost for other in range(1, last) if other not in waits[place])
        under_way = max(reached - seen, 0)
        part = UNDER_WAY if place == last else 0.0
        worked = seen - stage.skipped + part * under_way
        if not worked and under_way:
            return None
        # Rows that ask for nothing are through at once, and say how many do.
        share = 1 - stage.skipped / max(reached, seen, 1)
        left += max(stage.tokens / max(worked, 1) * share * reach - stage.tokens, 0)
    return round(left)


class Pace:
    """Tokens per second over the last while."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._heard: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, now: float, tokens: int) -> None:
        """Note an answer's tokens."""
        self._heard.append((now, tokens))
        self._sum += tokens
        self._forget(now)

    def rate(self, now: float) -> float:
        """Tokens per second."""
        self._forget(now)
        since = now - self._started
        return self._sum / max(min(since, self._window(now)), 1e-3)

    def _window(self, now: float) -> float:
        return max(WINDOW, (now - self._started) / 3)

    def _forget(self, now: float) -> None:
        while self._heard and self._heard[0][0] < now - self._window(now):
            self._sum -= self._heard.popleft()[1]
