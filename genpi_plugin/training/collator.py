"""Pairs -> one batch: every token once, no padding. `reading/layout.py` lays it out for the model.

Worked example. Two rows, the first with a behaviour half of 3 tokens (1 supervised) and a
prompt-generation half of 4 (2 supervised), the second with a behaviour half of 2 (1 supervised):

    input_ids                  [[b b b, B B, p p p p]]     shape [1, 9]
    labels                     likewise, -100 where there is no loss
    genpi_lengths              [3, 2, 4]
    genpi_behaviour_sequences  2                           the first two lengths are behaviour
    genpi_row_sequences        [1, 1]                      of each row
    genpi_tokens               [2, 2]                      supervised: behaviour, prompt generation
    genpi_teacher_key          []                          with distillation, one key for each row

Rows with targets of their own (`row_targets`) have them in place of keys, as tensors.
"""

from __future__ import annotations

from typing import Any

import torch

from genpi_plugin.data.chat import IGNORE_INDEX
from genpi_plugin.data.examples import (
    BEHAVIOUR_SEQUENCES,
    LENGTHS,
    ROW_SEQUENCES,
    TEACHER_KEY,
    TOKENS,
)
from genpi_plugin.training.told import collated

__all__ = ["TOKENS", "GenPICollator"]


class GenPICollator:
    """Collator for the rows of `examples.Pair.columns`, packed into bins by axolotl or not."""

    def __init__(self, tokenizer: Any, **_: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, features: list[Any]) -> dict[str, Any]:
        rows = [row for item in features for row in (item if isinstance(item, list) else [item])]
        behaviour, prompt_generation, taught = [], [], []
        for row in rows:
            sequences = _split(row)
            count = int(row[BEHAVIOUR_SEQUENCES][0])
            if _supervised(sequences[:count]):  # none in the rows that fill up an evaluation
                taught.append(row)
            behaviour += sequences[:count]
            prompt_generation += sequences[count:]
        ordered = [*behaviour, *prompt_generation]
        return {
            "input_ids": torch.tensor([[token for ids, _ in ordered for token in ids]]),
            "labels": torch.tensor([[label for _, labels in ordered for label in labels]]),
            LENGTHS: [len(ids) for ids, _ in ordered],
            BEHAVIOUR_SEQUENCES: len(behaviour),
            ROW_SEQUENCES: [int(row[BEHAVIOUR_SEQUENCES][0]) for row in rows],
            TOKENS: [_supervised(behaviour), _supervised(prompt_generation)],
            TEACHER_KEY: [row[TEACHER_KEY] for row in rows if TEACHER_KEY in row],
            **collated(taught),
        }


def _split(row: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
    ids, labels = list(row["input_ids"]), list(row["labels"])
    pieces, start = [], 0
    for length in row[LENGTHS]:
        pieces.append((ids[start : start + length], labels[start : start + length]))
        start += length
    return pieces


def _supervised(sequences: list[tuple[list[int], list[int]]]) -> int:
    return sum(label != IGNORE_INDEX for _, labels in sequences for label in labels)
