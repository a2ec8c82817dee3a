"""An agent and its environment that repeat themselves."""

from __future__ import annotations

from genpi_plugin.data.text import folded
from synth.quality.actions import command
from synth.store.rows import Row


class Commands:
    """What the agent did and what came of it, to see when both go round in a circle.

    Two turns of the agent do the same when they give the same command, in whatever words
    (`quality.actions.command`).
    """

    def __init__(self, row: Row, action_pattern: str | None) -> None:
        self._pattern = action_pattern
        self._last = command(row.teacher_output, action_pattern)
        self._given = {(folded(row.input), self._last)}
        self._answers: set[tuple[str, str]] = set()

    def answered_alike(self, turn: str) -> bool:
        """Note the environment's answer to the last command; whether it gave it before."""
        pair = (self._last, folded(turn))
        known = pair in self._answers
        self._answers.add(pair)
        return known

    def given_again(self, turn: str, answer: str) -> bool:
        """Note the command that the agent gives in answer to `turn`; whether it did before."""
        self._last = command(answer, self._pattern)
        pair = (folded(turn), self._last)
        known = pair in self._given
        self._given.add(pair)
        return known
