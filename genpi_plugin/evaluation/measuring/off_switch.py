"""Adapter switched off: is what is left the base model?

Not every adapter can be switched off. Biases trained with `bias:` stay on, a layer that was merged
and taken apart again in bf16 is not what it was, and neither is a weight that something wrote to.
All of these lie in the model that is asked, so it is held against the base model loaded anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genpi_plugin.evaluation.measuring.measure import Progress
from genpi_plugin.evaluation.subjects.reading import divergences, request_and_answer
from genpi_plugin.evaluation.subjects.subject import Subject

# Inputs of the check: each answer is compared token for token, over the whole vocabulary.
CHECKED = 16
# KL, in nats, up to which two distributions are the same. Equal weights give equal bits, so 0;
# the room is for devices that do not add in the same order twice.
SAME = 1e-5


@dataclass(frozen=True)
class OffSwitch:
    """What the check saw; `identical` is None where it could not be made, and `why` tells.

    Attributes:
        inputs, tokens: how many were compared.
        other_tokens: tokens that differ between the two greedy answers, or are in one alone.
        largest_kl: KL(base||adapter off) at the token where it is largest, in nats.
    """

    identical: bool | None
    inputs: int
    tokens: int
    other_tokens: int
    largest_kl: float | None
    why: str = ""


def check_off(
    floor: Subject,
    untouched: Callable[[], Any] | None,
    inputs: Sequence[str],
    max_new_tokens: int,
    progress: Progress,
) -> OffSwitch:
    """Let the model with its adapter off and the base model answer the same inputs.

    Args:
        untouched: loads the base model as the floor's was loaded, without any adapter. Both are
            in memory for the time of the check.
    """
    if untouched is None:
        return OffSwitch(None, 0, 0, 0, None, "there was no base model to compare with")
    inputs = inputs[:CHECKED]
    try:
        base = Subject("base model", untouched(), floor.view, floor.prompt,
                       batch_size=floor.batch_size)  # fmt: skip
    except torch.OutOfMemoryError:
        return OffSwitch(None, 0, 0, 0, None, "a second base model did not fit into memory")
    # The floor answers again: in other batches its bf16 answers may be others.
    requests = floor.requests(inputs)
    with progress("adapter off against the base model", 2 * len(inputs)) as advance:
        off = floor.generate(requests, max_new_tokens, advance)
        truth = base.generate(requests, max_new_tokens, advance)
    sequences = [request_and_answer(r, given.ids) for r, given in zip(requests, truth, strict=True)]
    found = divergences(base, [floor], {base.name: sequences, floor.name: sequences})[floor.name]
    largest = max(float(tokens.abs().max()) for tokens in found)
    other = sum(_differ(mine.ids, its.ids) for mine, its in zip(off, truth, strict=True))
    return OffSwitch(
        identical=other == 0 and largest <= SAME,
        inputs=len(inputs),
        tokens=sum(len(given.ids) for given in truth),
        other_tokens=other,
        largest_kl=largest,
    )


def _differ(left: Sequence[int], right: Sequence[int]) -> int:
    same = sum(a == b for a, b in zip(left, right, strict=False))
    return max(len(left), len(right)) - same
