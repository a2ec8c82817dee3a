"""How many recited tokens there are to one behaviour token, over a dataset."""

from __future__ import annotations

from typing import Any

from genpi_plugin.data.examples import SUPERVISED


def recital_rate(dataset: Any) -> float:
    """Supervised tokens of the prompt-generation halves over those of the behaviour halves.

    0 where the tokens of a step say more than a rate: every row recites (the paper's loss), none
    does, or nothing else is trained.

    Args:
        dataset: rows of `Pair.columns`; None where nothing is trained.
    """
    if dataset is None:
        return 0.0
    counts = dataset[SUPERVISED]
    behaviour = sum(count for count, _ in counts)
    recited = [count for _, count in counts if count]
    if len(recited) == len(counts):
        return 0.0
    return sum(recited) / behaviour if behaviour else 0.0
