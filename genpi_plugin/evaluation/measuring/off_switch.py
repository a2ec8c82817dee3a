"""Is the model with its adapter switched off the base model?

Not every adapter can be switched off. Biases trained with `bias:` stay on, a layer that was merged
and taken apart again in bf16 is not what it was, and neither is a weight that something wrote to.
All of these are part of the loaded model, so it is compared with a second copy of the base model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genpi_plugin.evaluation.measuring.measure import Progress
from genpi_plugin.evaluation.subjects.reading import divergences, request_and_answer
from genpi_plugin.evaluation.subjects.subject import Input, Subject

# Number of inputs checked, and the tokens of an answer: token by token, and distributions over the
# whole vocabulary.
CHECKED = 16
TOKENS = 32
# KL, in nats, up to which two distributions count as the same. Equal weights give equal bits, so
# 0; the tolerance is for devices that do not always add in the same order.
SAME = 1e-5


@dataclass(frozen=True)
class OffSwitch:
    """The check's result; where it could not be made, `identical` is None and `why` says why.

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


def check_off_switch(
    floor: Subject,
    load_base_model: Callable[[], Any] | None,
    inputs: Sequence[Input],
    max_new_tokens: int,
    progress: Progress,
) -> OffSwitch:
    """Let the model with its adapter off and the base model answer the same inputs.

    Args:
        max_new_tokens: of an answer, at most; TOKENS are enough.
        load_base_model: loads the base model as the floor's was loaded, without any adapter.
            Both are in memory during the check.
    """
    if load_base_model is None:
        return OffSwitch(
            None, 0, 0, 0, None, "there is none, teacher and floor are the base model itself"
        )
    inputs = inputs[:CHECKED]
    try:
        base = Subject("base model", load_base_model(), floor.view, floor.prompt,
                       batch_size=floor.batch_size, tools=floor.tools)  # fmt: skip
    except torch.OutOfMemoryError:
        return OffSwitch(None, 0, 0, 0, None, "a second base model did not fit into memory")
    limit = min(max_new_tokens, TOKENS)
    # The floor answers again: its bf16 answers may depend on the batch.
    requests = floor.requests(inputs)
    with progress("adapter off against the base model", 2 * len(inputs)) as advance:
        off = floor.generate(requests, limit, advance)
        expected = base.generate(requests, limit, advance)
    sequences = [
        request_and_answer(r, given.ids) for r, given in zip(requests, expected, strict=True)
    ]
    found = divergences(base, [floor], {base.name: sequences, floor.name: sequences})[floor.name]
    largest = max(float(tokens.abs().max()) for tokens in found)
    other = sum(_differ(mine.ids, its.ids) for mine, its in zip(off, expected, strict=True))
    return OffSwitch(
        identical=other == 0 and largest <= SAME,
        inputs=len(inputs),
        tokens=sum(len(given.ids) for given in expected),
        other_tokens=other,
        largest_kl=largest,
    )


def _differ(left: Sequence[int], right: Sequence[int]) -> int:
    same = sum(a == b for a, b in zip(left, right, strict=False))
    return max(len(left), len(right)) - same
