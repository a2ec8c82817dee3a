"""Bootstrap confidence intervals: means, ratios of sums, and retention; always over inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % percentile interval; all None where it is not defined."""

    value: float | None
    ci_low: float | None
    ci_high: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of 0."""
        if self.ci_low is None or self.ci_high is None:
            return False
        return self.ci_low > 0 or self.ci_high < 0

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


def mean(values: Sequence[float], seed: int) -> Interval:
    """Mean over inputs."""
    return _interval(lambda x: x.mean(-1), [values], seed)


def ratio_of_sums(
    numerators: Sequence[float], denominators: Sequence[float], seed: int
) -> Interval:
    """Sum over sum, inputs resampled in pairs: a mean per token from per-input sums."""
    return _interval(lambda x, n: _divide(x.sum(-1), n.sum(-1)), [numerators, denominators], seed)


def share_taken_over_difference(
    left: Sequence[float],
    left_floor: Sequence[float],
    right: Sequence[float],
    right_floor: Sequence[float],
    seed: int,
) -> Interval:
    """Internalization of left minus that of right where each has a floor of its own: along its own
    answers. Inputs resampled together."""
    return _interval(
        lambda x, f, y, g: _divide(y.sum(-1), g.sum(-1)) - _divide(x.sum(-1), f.sum(-1)),
        [left, left_floor, right, right_floor],
        seed,
    )


def internalization(student: Sequence[float], floor: Sequence[float], seed: int) -> Interval:
    """1 - KL(teacher||student) / KL(teacher||floor), from each input's KL summed over tokens.

    Both sums are over the same tokens, so their number cancels.
    """
    return _interval(lambda s, f: 1.0 - _divide(s.sum(-1), f.sum(-1)), [student, floor], seed)


def retention(
    student: Sequence[float], floor: Sequence[float], teacher: Sequence[float], seed: int
) -> Interval:
    """(student - floor) / (teacher - floor) of mean scores; undefined where teacher = floor."""
    return _interval(
        lambda s, f, t: _divide(s.mean(-1) - f.mean(-1), t.mean(-1) - f.mean(-1)),
        [student, floor, teacher],
        seed,
    )


def mean_difference(left: Sequence[float], right: Sequence[float], seed: int) -> Interval:
    """Mean of left minus mean of right, inputs resampled in pairs."""
    return _interval(lambda x, y: x.mean(-1) - y.mean(-1), [left, right], seed)


def internalization_difference(
    left: Sequence[float], right: Sequence[float], floor: Sequence[float], seed: int
) -> Interval:
    """Internalization of left minus that of right, inputs resampled together."""
    return _interval(
        lambda x, y, f: _divide(y.sum(-1) - x.sum(-1), f.sum(-1)), [left, right, floor], seed
    )


def _divide(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(right) > 1e-12, left / right, np.nan)


def _interval(
    statistic: Callable[..., np.ndarray], data: Sequence[Sequence[float]], seed: int
) -> Interval:
    arrays = [np.asarray(values, dtype=np.float64) for values in data]
    value = float(statistic(*arrays))
    if not np.isfinite(value):
        return Interval(None, None, None)
    if len(arrays[0]) < 2:
        return Interval(value, None, None)
    with warnings.catch_warnings():
        # A resample may have teacher = floor; those without a value are left out below.
        warnings.simplefilter("ignore")
        result = bootstrap(
            arrays,
            lambda *samples, axis=-1: statistic(*samples),
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    drawn = result.bootstrap_distribution[np.isfinite(result.bootstrap_distribution)]
    if not drawn.size:
        return Interval(value, None, None)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
