"""Trials: a fast way of calling a model compared with the plain one on a few rows made up for it.

Each gives what is wrong with the fast way in a few words, empty if nothing is. Whatever a model
raises on the fast way is such a reason, too: the plain way is right where anything is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from genpi_plugin.reading.agreement import base_of, disagreement, plain_logits, test_ids
from genpi_plugin.reading.layout import make_calls
from genpi_plugin.reading.start import Start, Way

# Tokens of the start that the trial rows have in common, and of what follows in each: unlike
# lengths, several tokens each.
START, RESTS = 48, (9, 3, 5)
# Tokens of rows that have nothing in common.
UNLIKE = (48, 7, 36, 23)
# Tokens written in a trial of `generate`: the first is read with the request, the others follow.
WRITTEN = 3
# Positions are read in another way from a certain one on, by the longest row of the call.
SWITCHING_ROPES = {"longrope", "dynamic"}


def trial(fast: Callable[..., str]) -> Callable[..., str]:
    """Turn what a trial raises into its reason."""

    @functools.wraps(fast)
    @torch.no_grad()
    def tried(*args: Any, **kwargs: Any) -> str:
        try:
            return fast(*args, **kwargs)
        except Exception as error:  # of whatever architecture and release
            line = next(iter(str(error).splitlines()), "")
            return f"{type(error).__name__}: {line[:120]}"

    return tried


@trial
def reads_behind(model: Any, way: Way, longest: int) -> str:
    """Several tokens behind a held start, in a padded batch of unlike lengths.

    Args:
        longest: tokens of the longest row tried.
    """
    if way == "shared" and (why := _not_shareable(model)):
        return why
    rows = _rows(model, longest)
    start = Start(model, rows[0][: len(rows[0]) - RESTS[0]], way)
    with start.reading():
        logits = model(**start.inputs(rows)).logits
    right = [plain_logits(model, row, rest) for row, rest in zip(rows, RESTS, strict=True)]
    found = [logits[place, :rest] for place, rest in enumerate(RESTS)]
    return disagreement(model, torch.cat(found), torch.cat(right))


@trial
def generates_behind(model: Any, way: Way, longest: int) -> str:
    """Answers behind a held start, in a batch of unlike lengths: padding between start and rest."""
    rows = _rows(model, longest - WRITTEN)
    start = Start(model, rows[0][: len(rows[0]) - RESTS[0]], way)
    with start.reading():
        return _generated(model, rows, start.inputs_to_generate(rows, _pad(model)))


@trial
def generates_padded(model: Any, longest: int) -> str:
    """Answers to requests of unlike lengths, padded on the left."""
    rows = _rows(model, longest - WRITTEN)
    return _generated(model, rows, Start(model, [], "plain").inputs_to_generate(rows, _pad(model)))


@trial
def generates_together(model: Any) -> str:
    """Answers to requests of one length."""
    rows = _equal_rows(model)
    return _generated(model, rows, Start(model, [], "plain").inputs_to_generate(rows, _pad(model)))


@trial
def reads_padded(model: Any, forward: Callable[..., Any] | None = None) -> str:
    """Rows of unlike lengths in one call, padded on the right.

    Args:
        forward: the model as it is called, where that is not `model` itself (a wrapper).
    """
    rows = _unlike_rows(model)
    right = [plain_logits(model, row, len(row), forward) for row in rows]
    found = []
    for inputs in (
        _layout(model, rows, "padded"),  # as in training: without a mask
        Start(model, [], "plain").inputs(rows),
    ):
        logits = (forward or model)(**inputs).logits
        found += [logits[place, : len(row)] for place, row in enumerate(rows)]
    return disagreement(model, torch.cat(found), torch.cat([*right, *right]))


@trial
def reads_together(model: Any) -> str:
    """Rows of one length in one call."""
    rows = _equal_rows(model)
    right = [plain_logits(model, row, len(row)) for row in rows]
    found = model(**_layout(model, rows, "padded")).logits
    return disagreement(model, torch.cat(list(found)), torch.cat(right))


@trial
def separates_packed(model: Any, forward: Callable[..., Any] | None = None) -> str:
    """Sequences packed into one row, told apart by positions that restart."""
    rows = _unlike_rows(model)
    right = [plain_logits(model, row, len(row), forward) for row in rows]
    logits = (forward or model)(**_layout(model, rows, "packed")).logits[0]
    return disagreement(model, logits, torch.cat(right))


def rope_switch(config: Any) -> int:
    """The position from which on a model reads a call's positions in another way, which then
    depends on the longest row; 0 if there is none."""
    config = config.get_text_config()
    rope = rope_of(config)
    if kind_of(rope) not in SWITCHING_ROPES:
        return 0
    named = "original_max_position_embeddings"
    return rope.get(named) or getattr(config, named, None) or config.max_position_embeddings


def rope_of(config: Any) -> dict[str, Any]:
    """The settings of the rotary positions; the first layer type's, where each has its own."""
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    by_layer = [value for value in rope.values() if isinstance(value, dict) and kind_of(value)]
    switching = [value for value in by_layer if kind_of(value) in SWITCHING_ROPES]
    return (switching or by_layer or [rope])[0]


def kind_of(rope: dict[str, Any]) -> str:
    """The kind of rotary positions; empty where there are none."""
    return rope.get("rope_type") or rope.get("type") or ""


def window(model: Any) -> int:
    """The shortest window of the model's cache, in tokens; 0 without one."""
    layers = getattr(DynamicCache(config=base_of(model).config), "layers", [])
    found = [getattr(layer, "sliding_window", None) for layer in layers]
    return min((size for size in found if size), default=0)


def _not_shareable(model: Any) -> str:
    """Why `shared_attention` can't serve the model, as far as that shows without trying."""
    config = base_of(model).config
    if config._attn_implementation != "sdpa":
        return f"its attention is {config._attn_implementation}, not sdpa"
    cache = model(input_ids=torch.tensor([test_ids(model, 2)], device=model.device),
                  use_cache=True).past_key_values  # fmt: skip
    kinds = {type(layer) for layer in getattr(cache, "layers", [None])}
    other = kinds - {DynamicLayer}
    return f"its cache has {', '.join(sorted(kind.__name__ for kind in other))}" if other else ""


def _rows(model: Any, longest: int) -> list[list[int]]:
    """Rows of unlike lengths that share all but their last few tokens."""
    common = max(longest - RESTS[0], 8)
    ids = test_ids(model, common + sum(RESTS))
    rests = ids[common:]
    rows = []
    for length in RESTS:
        rows.append([*ids[:common], *rests[:length]])
        rests = rests[length:]
    return rows


def _unlike_rows(model: Any) -> list[list[int]]:
    """Rows with nothing in common, a very short one among them."""
    ids = test_ids(model, sum(UNLIKE))
    return [row.tolist() for row in torch.tensor(ids).split(list(UNLIKE))]


def _equal_rows(model: Any) -> list[list[int]]:
    ids = test_ids(model, 2 * START)
    return [ids[:START], ids[START:]]


def _layout(model: Any, rows: Sequence[list[int]], layout: Any) -> dict[str, Any]:
    """The inputs of a training step's call."""
    ids = torch.tensor([token for row in rows for token in row], device=model.device)
    [call] = make_calls(ids, ids, [len(row) for row in rows], layout)
    return call.inputs()


def _generated(model: Any, rows: Sequence[list[int]], inputs: dict[str, Any]) -> str:
    """Compare what `generate` computes for rows together with what it does for each alone."""
    alone = [_write(model, Start(model, [], "plain").inputs_to_generate([r], 0)) for r in rows]
    together = _write(model, inputs)
    found, right = [], []
    for place, (tokens, logits) in enumerate(alone):
        for step in range(WRITTEN):
            found.append(together[1][step][place])
            right.append(logits[step][0])
            if together[0][place, step] != tokens[0, step]:
                break  # a near tie; from here on the two have read different texts
    return disagreement(model, torch.stack(found), torch.stack(right))


def _write(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """Greedily written tokens [rows, written], and the logits of each step, [rows, vocabulary]."""
    how = GenerationConfig(
        do_sample=False,
        max_new_tokens=WRITTEN,
        min_new_tokens=WRITTEN,
        pad_token_id=_pad(model),
        output_logits=True,
        return_dict_in_generate=True,
    )
    output = model.generate(**inputs, generation_config=how)
    return output.sequences[:, inputs["input_ids"].shape[1] :], output.logits


def _pad(model: Any) -> int:
    """A token that pads: one of the trial's own, for every model has it."""
    return test_ids(model, 1)[0]
