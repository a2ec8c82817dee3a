"""Figures of clauses from divergences by token. Pure; no model.

For a token t of the teacher's answers, with T the teacher, S the student and F the floor, let
    k_c(t) = KL(T||T without clause c)   what the clause does there: its effect
    b_c(t) = min(k_c(t), KL(T||F)(t))    what there is to lose if the clause is not in the weights
    w_c(t) = k_c(t)^2 / sum of k_d(t) over all clauses d   how far it alone governs a token
    A_c    = sum w_c b_c                         all that is at stake for the clause
    L_c    = sum w_c min(KL(T||S), b_c) / A_c    what the student lost of it
    M_dc   = sum w_c min(k_d, b_c) / A_c         what the teacher without clause d loses of it
Then
    internalized share of c = min(1, (1 - L_c) / product of (1 - L_d M_dc) over all other clauses d)

The product attributes to another clause what its absence alone takes away here. A student that
is the teacher has exactly 1 of every clause; one that is the teacher without c has exactly 0 of c
and 1 of the others; the floor has exactly 0 of every clause. docs/clauses.md says more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.intervals import LEVEL, RESAMPLES, Interval

# By token, for each input: nats.
ByToken = Sequence[Sequence[float]]

# Nats per token. A clause is dead weight when its effect's whole interval is below it.
DEAD_BELOW = 0.01


@dataclass(frozen=True)
class Losses:
    """Sums over the tokens of each input, of C clauses and n inputs.

    Attributes:
        at_stake: [C, n], sum w_c b_c.
        lost: [C, n], sum w_c min(KL(T||S), b_c).
        overlap: [C, C, n], at (d, c) sum w_c min(k_d, b_c).
    """

    at_stake: np.ndarray
    lost: np.ndarray
    overlap: np.ndarray


def effect(divergence: ByToken, seed: int) -> Interval:
    """KL(T||T without the clause), mean per token, with its interval over inputs."""
    sums = [float(np.sum(tokens)) for tokens in divergence]
    return intervals.ratio_of_sums(sums, [len(tokens) for tokens in divergence], seed)


def is_dead(interval: Interval) -> bool:
    """Whether a clause's effect is below `DEAD_BELOW` with its whole interval."""
    upper = interval.value if interval.ci_high is None else interval.ci_high
    return upper is None or upper < DEAD_BELOW


def losses(effects: Sequence[ByToken], student: ByToken, floor: ByToken) -> Losses:
    """What a student lost of each clause, by input.

    Args:
        effects: for each clause, KL(T||T without it) by token, for each input.
        student: KL(T||S) of the same tokens.
        floor: KL(T||F) of the same tokens.
    """
    clauses, inputs = len(effects), len(student)
    found = Losses(np.zeros((clauses, inputs)), np.zeros((clauses, inputs)),
                   np.zeros((clauses, clauses, inputs)))  # fmt: skip
    for number in range(inputs if clauses else 0):
        k = _nats([clause[number] for clause in effects])
        weights = k * k / np.maximum(k.sum(0), 1e-12)
        stake = np.minimum(k, _nats(floor[number]))
        found.at_stake[:, number] = (weights * stake).sum(-1)
        found.lost[:, number] = (weights * np.minimum(_nats(student[number]), stake)).sum(-1)
        for other in range(clauses):
            found.overlap[other, :, number] = (weights * np.minimum(k[other], stake)).sum(-1)
    return found


def internalized(found: Losses, seed: int) -> list[Interval]:
    """The internalized share of each clause, with its interval over inputs.

    An interval is all None where nothing is at stake: there the floor does the same.
    """
    inputs = found.lost.shape[-1]
    values = _internalized(found, np.ones((1, inputs)))[:, 0]
    if inputs < 2:
        return [_interval(value, None) for value in values]
    drawn = np.random.default_rng(seed).integers(inputs, size=(RESAMPLES, inputs))
    counts = np.zeros((RESAMPLES, inputs))
    np.add.at(counts, (np.arange(RESAMPLES)[:, None], drawn), 1.0)
    resampled = _internalized(found, counts)
    return [_interval(value, row) for value, row in zip(values, resampled, strict=True)]


def _internalized(found: Losses, counts: np.ndarray) -> np.ndarray:
    """Shares [C, R] of R samples; `counts` [R, n] says how often each input is in a sample."""
    at_stake = found.at_stake @ counts.T
    at_stake = np.where(at_stake > 1e-12, at_stake, np.nan)
    lost = found.lost @ counts.T / at_stake
    explained = np.ones_like(lost)
    for other in range(len(lost)):
        overlap = found.overlap[other] @ counts.T / at_stake
        overlap[other] = 0.0
        explained *= 1.0 - np.nan_to_num(lost[other]) * overlap
    # Where another clause's absence explains everything, nothing is left for this one: 0.
    return np.minimum((1.0 - lost) / np.maximum(explained, 1e-9), 1.0)


def _interval(value: float, drawn: np.ndarray | None) -> Interval:
    if not np.isfinite(value):
        return Interval(None, None, None)
    if drawn is None:
        return Interval(float(value), None, None)
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def _nats(values: Sequence[float] | Sequence[Sequence[float]]) -> np.ndarray:
    # A divergence of 0 may come out slightly below 0.
    return np.maximum(np.asarray(values, dtype=np.float64), 0.0)
