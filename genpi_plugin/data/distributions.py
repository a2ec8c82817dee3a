"""The teacher's likeliest tokens that a row holds: `top_ids` and `top_logprobs` of contract 1.

Both stand beside `token_ids` and have its shape, with k entries in place of each token: ids, and
natural logarithms of probabilities at temperature 1, likeliest first, as float16 in Parquet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genpi_plugin.data.messages import kind
from genpi_plugin.errors import RowError

FIELDS = ("top_ids", "top_logprobs")
# Probabilities of float16 logarithms may add up to more than 1: by 2^-11 times the distribution's
# entropy in nats, which is below 12 for a vocabulary of 150,000.
ROUNDING = 0.01
MAKE = "make the dataset with `python -m synth run --logprobs 20`, or take `top_ids` and "
MAKE += "`top_logprobs` out of the row."


@dataclass(frozen=True)
class Distributions:
    """The likeliest tokens at each token of one answer.

    Shapes: ids [tokens, k] int32, logprobs [tokens, k] float16, likeliest first.
    """

    ids: np.ndarray
    logprobs: np.ndarray


def parse_distributions(
    raw: Mapping[str, Any], token_ids: Sequence[Sequence[int] | None], where: str
) -> list[Distributions | None]:
    """Read the two fields of a row; None for a turn without them, empty where no turn has them.

    Args:
        raw: the row as `datasets` gives it.
        token_ids: of each assistant turn, checked; empty where the row has none.
        where: file and row number, for messages.

    Raises:
        RowError: one field is there without the other or without `token_ids`; the shapes are not
            those of `token_ids`; k changes within the row; or the numbers are no token ids, or no
            sorted log-probabilities of one distribution.
    """
    given: dict[str, Any] = {name: raw.get(name) for name in FIELDS}
    there = [name for name, value in given.items() if _holds(value)]
    if not there:
        return []
    if not token_ids:
        raise RowError(
            f"{where}: the row has `{there[0]}` and no `token_ids`.",
            "write the tokens that the distributions were computed at, as they were sampled, or "
            "take `top_ids` and `top_logprobs` out of the row.",
        )
    for name, other in (FIELDS, FIELDS[::-1]):
        if name not in there:
            raise RowError(f"{where}: the row has `{other}` and no `{name}`.", MAKE)
        value = given[name]
        got = len(value) if isinstance(value, list | tuple) else kind(value)
        if got != len(token_ids):
            raise RowError(
                f"{where}: the field `{name}` is not a list for each of the {len(token_ids)} "
                f"entries of `token_ids` ({got}).",
                "write one for each assistant turn, as in `token_ids`; null where a turn has none.",
            )
    turns = zip(token_ids, given["top_ids"], given["top_logprobs"], strict=True)
    found = [_turn(*turn, number, where) for number, turn in enumerate(turns)]
    sizes = sorted({turn.ids.shape[1] for turn in found if turn is not None})
    if len(sizes) > 1:
        raise RowError(
            f"{where}: the field `top_ids` has {sizes[0]} tokens in one turn and {sizes[1]} in "
            "another.",
            MAKE,
        )
    return found


def _holds(value: Any) -> bool:
    """Whether there is something to be read: not nothing, and not a null for each turn."""
    if isinstance(value, list | tuple):
        return any(one not in (None, []) for one in value)
    return value is not None


def _turn(
    tokens: Sequence[int] | None, ids: Any, logprobs: Any, number: int, where: str
) -> Distributions | None:
    given = {"top_ids": ids, "top_logprobs": logprobs}
    there = [name for name, value in given.items() if value not in (None, [])]
    if not there:
        return None
    if tokens is None:
        raise RowError(
            f"{where}: `{there[0]}[{number}]` is given, and `token_ids[{number}]` is not.",
            "write the tokens as they were sampled, or null for both.",
        )
    read = {}
    for name, value in given.items():
        place = f"{where}: the field `{name}[{number}]`"
        read[name] = _numbers(value, place, whole=name == "top_ids")
        if len(read[name]) != len(tokens):
            raise RowError(
                f"{place} is of {len(read[name])} tokens, and `token_ids[{number}]` has "
                f"{len(tokens)}.",
                MAKE,
            )
    if read["top_ids"].shape != read["top_logprobs"].shape:
        raise RowError(
            f"{where}: the field `top_ids[{number}]` has {read['top_ids'].shape[1]} entries a "
            f"token, and `top_logprobs[{number}]` has {read['top_logprobs'].shape[1]}.",
            MAKE,
        )
    _check_ids(read["top_ids"], f"{where}: the field `top_ids[{number}]`")
    _check_logprobs(read["top_logprobs"], f"{where}: the field `top_logprobs[{number}]`")
    with np.errstate(over="ignore"):  # beyond what float16 holds there is no probability left
        return Distributions(
            read["top_ids"].astype(np.int32), read["top_logprobs"].astype(np.float16)
        )


def _numbers(value: Any, place: str, whole: bool) -> np.ndarray:
    """A list for each token, all of one length, as [tokens, k]."""
    kinds = "i" if whole else "if"
    try:
        found = np.asarray(value)
    except ValueError:  # lists of several lengths
        found = np.empty(0, dtype=object)
    if found.ndim != 2 or not found.size or found.dtype.kind not in kinds:
        what = "token ids" if whole else "log-probabilities"
        raise RowError(
            f"{place} is not a list of {what} for each token, all equally long.",
            MAKE,
        )
    return found


def _check_ids(ids: np.ndarray, place: str) -> None:
    ordered = np.sort(ids, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if ids.min() < 0 or ids.max() > np.iinfo(np.int32).max:
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise RowError(f"{place} holds {wrong}, which is no token id.", MAKE)
    if twice.any():
        raise RowError(f"{place} names a token twice (at token {int(twice.argmax())}).", MAKE)


def _check_logprobs(logprobs: np.ndarray, place: str) -> None:
    """A probability of 0 is one, of -inf."""
    values = logprobs.astype(np.float64)
    if np.isnan(values).any():
        raise RowError(f"{place} holds a NaN.", MAKE)
    if values.max() > 0:
        raise RowError(
            f"{place} holds {values.max():g}, and a log-probability is 0 at most.",
            "write natural logarithms of probabilities.",
        )
    rising = (values[:, 1:] > values[:, :-1]).any(axis=1)
    if rising.any():
        raise RowError(
            f"{place} is not sorted, likeliest first (at token {int(rising.argmax())}).", MAKE
        )
    sums = np.exp(values).sum(axis=1)
    if sums.max() > 1 + ROUNDING:
        raise RowError(
            f"{place}: the probabilities at token {int(sums.argmax())} add up to "
            f"{sums.max():.3f}, more than 1.",
            "write natural logarithms of probabilities at temperature 1, over the whole "
            "vocabulary.",
        )
