"""A row's distributions as what the student learns from: targets of its behaviour tokens.

At each position the likeliest tokens are kept by themselves, and all others as one bucket, the
tail, whose probability is what is left of 1. A position of an answer without distributions has a
target without any probability: its divergence and its gradient are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genpi_plugin.data.distributions import Distributions
from genpi_plugin.data.rows import Row
from genpi_plugin.errors import RowError

# Columns of prepared data: bytes of [positions, k] int32 and float32, and of [positions] float32.
TARGET_IDS = "genpi_target_ids"
TARGET_LOGPROBS = "genpi_target_logprobs"
TARGET_TAIL = "genpi_target_tail"
TARGETS = (TARGET_IDS, TARGET_LOGPROBS, TARGET_TAIL)
# The logarithm of no probability: its exponential is 0 in float32, and products with it are finite.
NOTHING = -1e4
# A tail has at least this: rounded to float16, the others may add up to 1 and more.
LEAST_TAIL = 2.0**-24


@dataclass(frozen=True)
class RowTargets:
    """Log-probabilities in nats at the supervised tokens of a row's behaviour half.

    Shapes: token_ids [positions, k] int32, logprobs [positions, k] float32, tail [positions]
    float32. All are `NOTHING` where there is no target.
    """

    token_ids: np.ndarray
    logprobs: np.ndarray
    tail: np.ndarray

    def columns(self) -> dict[str, bytes]:
        values = (self.token_ids, self.logprobs, self.tail)
        return {name: value.tobytes() for name, value in zip(TARGETS, values, strict=True)}

    @classmethod
    def read(cls, columns: Any) -> RowTargets:
        """From the columns of a prepared row."""
        tail = np.frombuffer(columns[TARGET_TAIL], np.float32)
        shape = (len(tail), -1)
        ids = np.frombuffer(columns[TARGET_IDS], np.int32).reshape(shape)
        return cls(ids, np.frombuffer(columns[TARGET_LOGPROBS], np.float32).reshape(shape), tail)

    @classmethod
    def join(cls, rows: Sequence[RowTargets]) -> RowTargets:
        """Rows one after the other, each as wide as the widest.

        Those with fewer tokens repeat them, with no probability.
        """
        width = max(row.token_ids.shape[1] for row in rows)
        ids, logprobs = [], []
        for row in rows:
            more = width - row.token_ids.shape[1]
            ids.append(np.pad(row.token_ids, ((0, 0), (0, more)), "wrap"))
            logprobs.append(np.pad(row.logprobs, ((0, 0), (0, more)), constant_values=NOTHING))
        return cls(
            np.concatenate(ids), np.concatenate(logprobs), np.concatenate([r.tail for r in rows])
        )


def targets_of(row: Row, lengths: Sequence[int], top_k: int | None, vocabulary: int) -> RowTargets:
    """The targets of a row's answers, in the order of their tokens.

    Args:
        row: its trained answers have the tokens in `token_ids`, where it has distributions.
        lengths: trained tokens of each assistant turn.
        top_k: tokens kept at each position, if the row has more; None keeps them all.
        vocabulary: the number of tokens that the model tells apart. One of them is in the tail
            always.

    Raises:
        RowError: a token is none of the model's, or answers follow each other without a token
            between, so that they can't be told apart.
    """
    turns = row.distributions or [None] * len(lengths)
    if len(turns) != len(lengths):
        raise RowError(
            f"{row.where}: of its {len(turns)} answers two follow each other without a token "
            "between, and `top_ids` can't be laid beside them.",
            "set another `chat_template:`, or learn from the text alone: `distill_weight: 0`.",
        )
    held = max((turn.ids.shape[1] for turn in turns if turn is not None), default=1)
    keep = min(held, top_k or held, vocabulary - 1)
    parts = []
    for number, (turn, length) in enumerate(zip(turns, lengths, strict=True)):
        if turn is None:
            parts.append(_nothing(length, keep))
            continue
        if turn.ids.max() >= vocabulary:
            raise RowError(
                f"{row.where}: the field `top_ids[{number}]` holds {turn.ids.max()}, and the "
                f"model has {vocabulary} tokens.",
                "train a model with the vocabulary of the teacher.",
            )
        if len(turn.ids) != length:  # `token_ids` are trained as they are
            raise AssertionError(f"{row.where}: {len(turn.ids)} targets for {length} tokens")
        parts.append(_of_turn(turn, keep, vocabulary))
    return RowTargets.join(parts)


def without_targets(row: Row) -> int:
    """How many of a row's answers have no distributions."""
    answers = sum(message["role"] == "assistant" for message in row.conversation)
    return answers - sum(turn is not None for turn in row.distributions)


def _of_turn(turn: Distributions, keep: int, vocabulary: int) -> RowTargets:
    logprobs = turn.logprobs.astype(np.float64)
    probabilities = np.exp(logprobs)
    rest = probabilities[:, keep:].sum(axis=1)
    if turn.ids.shape[1] < vocabulary:
        rest += np.maximum(1.0 - probabilities.sum(axis=1), 0.0)
    tail = np.maximum(rest, LEAST_TAIL)
    # Rounded, a distribution may have a little more or less than 1 in all.
    scale = np.log(probabilities[:, :keep].sum(axis=1) + tail)
    scaled = np.maximum(logprobs[:, :keep] - scale[:, None], NOTHING)
    return RowTargets(
        np.ascontiguousarray(turn.ids[:, :keep]),
        scaled.astype(np.float32),
        (np.log(tail) - scale).astype(np.float32),
    )


def _nothing(length: int, width: int) -> RowTargets:
    empty = np.full((length, width), NOTHING, np.float32)
    return RowTargets(np.zeros((length, width), np.int32), empty, empty[:, 0].copy())
