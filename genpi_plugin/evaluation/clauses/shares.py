"""Figures of clauses from divergences by token. Pure; the model is not needed any more.

For a token t of the teacher's answers, with T the teacher, S the student and F the floor, let
    k_c(t) = KL(T||T without clause c)   what the clause does there: its effect
    b_c(t) = min(k_c(t), KL(T||F)(t))    what there is to lose if the clause is not in the weights
    w_c(t) = k_c(t)^2 / sum of k_d(t) over all clauses d   which tokens it governs, and it alone
Then
    internalized share of c = 1 - sum w_c min(KL(T||S), b_c) / sum w_c b_c

It is exactly 1 for a student that is the teacher, exactly 0 for one that is the teacher without
the clause, and exactly 0 for the floor. docs/clauses.md says why it is not the plain ratio
sum k_c KL(T||S) / sum k_c KL(T||F).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import intervals
from ..intervals import Interval

# By token, for each input: nats.
ByToken = Sequence[Sequence[float]]

# Nats per token. A clause whose effect is below it with its whole interval is dead weight.
DEAD_BELOW = 0.01


@dataclass(frozen=True)
class Share:
    """A clause's sums by input: `lost` of `at_stake` is not in the weights."""

    lost: list[float]
    at_stake: list[float]

    def internalized(self, seed: int) -> Interval:
        """1 - lost / at stake, with its interval over inputs; undefined where nothing is."""
        return intervals.internalization(self.lost, self.at_stake, seed)


def effect(divergence: ByToken, seed: int) -> Interval:
    """KL(T||T without the clause), mean per token, with its interval over inputs."""
    sums = [float(np.sum(tokens)) for tokens in divergence]
    return intervals.ratio_of_sums(sums, [len(tokens) for tokens in divergence], seed)


def is_dead(interval: Interval) -> bool:
    """Whether a clause's effect is below `DEAD_BELOW` with its whole interval."""
    upper = interval.value if interval.ci_high is None else interval.ci_high
    return upper is None or upper < DEAD_BELOW


def shares(effects: Sequence[ByToken], student: ByToken, floor: ByToken) -> list[Share]:
    """What of each clause a student has.

    Args:
        effects: for each clause, KL(T||T without it) by token, for each input.
        student: KL(T||S) of the same tokens.
        floor: KL(T||F) of the same tokens.
    """
    lost: list[list[float]] = [[] for _ in effects]
    at_stake: list[list[float]] = [[] for _ in effects]
    for number in range(len(student)):
        k = _nats([clause[number] for clause in effects])
        weights = k * k / np.maximum(k.sum(0), 1e-12)
        baseline = np.minimum(k, _nats(floor[number]))
        missing = np.minimum(_nats(student[number]), baseline)
        for clause, (part, whole) in enumerate(
            zip((weights * missing).sum(-1), (weights * baseline).sum(-1), strict=True)
        ):
            lost[clause].append(float(part))
            at_stake[clause].append(float(whole))
    return [Share(*pair) for pair in zip(lost, at_stake, strict=True)]


def shares_by_student(
    effects: Sequence[ByToken], students: Mapping[str, ByToken], floor: ByToken
) -> dict[str, list[Share]]:
    """`shares` of each student, by name."""
    return {name: shares(effects, tokens, floor) for name, tokens in students.items()}


def _nats(values: Sequence[float] | Sequence[Sequence[float]]) -> np.ndarray:
    # A divergence of nothing may come out a hair below 0.
    return np.maximum(np.asarray(values, dtype=np.float64), 0.0)
