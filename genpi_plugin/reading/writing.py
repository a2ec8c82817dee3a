"""Requests -> answers: many at once, behind a common start that is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from genpi_plugin.reading.capabilities import begin
from genpi_plugin.reading.head import take_states_whole
from genpi_plugin.reading.prefix import PrefixCache


def answers(
    model: Any,
    prefix: PrefixCache,
    requests: Sequence[list[int]],
    limit: int,
    ends: Sequence[int],
    pad_id: int,
    batch_size: int,
    how: Callable[[list[int]], dict[str, Any]],
) -> Iterator[dict[int, list[int]]]:
    """The answers of a batch after the other, longest requests first so that memory fails early.

    Args:
        model: in the state it answers in; gradients are the caller's business.
        prefix: what all requests begin with, made for generating.
        limit: tokens of an answer, at most.
        ends: tokens that end one.
        pad_id: any token.
        batch_size: requests answered at once, at most.
        how: further arguments of `generate` for the requests (by place) of a batch.

    Yields:
        by the request's place, token ids up to the one that ends the answer, that included.
    """
    lengths = [len(request) for request in requests]
    order = sorted(range(len(requests)), key=lambda i: -lengths[i])
    for part in prefix.calls_to_generate([lengths[i] for i in order], limit):
        for start in range(0, len(part), batch_size):
            batch = [order[place] for place in part[start : start + batch_size]]
            begin(model, lengths[batch[0]] + limit)
            inputs = prefix.inputs_to_generate([requests[i] for i in batch], pad_id)
            undo = take_states_whole(model)
            try:
                with prefix.reading():
                    output = model.generate(
                        **inputs,
                        max_new_tokens=limit,
                        pad_token_id=pad_id,
                        eos_token_id=list(ends),
                        use_cache=True,
                        **how(batch),
                    )
            finally:
                undo()
            rows = output[:, inputs["input_ids"].shape[1] :].tolist()
            yield {i: _ended(row, ends) for i, row in zip(batch, rows, strict=True)}


def _ended(ids: list[int], ends: Sequence[int]) -> list[int]:
    place = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return ids[: place + 1]
