"""How long a run has yet to go, from what its rows took so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
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
    """A stage so far: rows that passed, rows that did not, and the tokens written for both."""

    passed: int
    lost: int
    tokens: int


def tokens_to_go(total: int, stages: Sequence[StageWork]) -> int | None:
    """Tokens that are yet to be written, before `total` rows have gone through all stages.

    The first stage goes on until `total` texts have passed; each later one sees the rows that
    passed the second (the last two run side by side). A row under way counts as a part of a row in
    the last stage, where it may have had some of its answers, and as none in the others.

    Returns:
        None as long as some stage has seen too few rows.
    """
    left = 0.0
    reach, reached = float(total), total
    for place, stage in enumerate(stages):
        # A row that is lost for its reason has had its conversation by then.
        seen = stage.passed + stage.lost + (stages[2].lost if place == 3 else 0)
        if stage.passed < min(ENOUGH, total):
            return None
        if place == 0:
            left += stage.tokens / stage.passed * max(total - stage.passed, 0)
            reached = stage.passed
            continue
        under_way = max(reached - seen, 0)
        part = UNDER_WAY if place == len(stages) - 1 else 0.0
        per_row = stage.tokens / (seen + part * under_way)
        left += max(per_row * reach - stage.tokens, 0)
        if place == 1:
            reach *= stage.passed / seen
            reached = stage.passed
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
