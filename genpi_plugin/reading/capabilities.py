"""What a model can do, known by trying it: the fastest way of calling it that is also right.

Nothing is read from a list of architectures. Each verdict comes from a trial (`trials`), is
remembered for the model, and logged where it costs something. Both packages ask here.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from genpi_plugin.errors import GenPIError
from genpi_plugin.reading import trials
from genpi_plugin.reading.agreement import base_of, steady, test_ids
from genpi_plugin.reading.layout import Layout
from genpi_plugin.reading.start import Way

LOG = logging.getLogger("axolotl.genpi")
# Which rows may stand in one call: any, those of one length, or one alone.
Together = Literal["padded", "equal", "alone"]
# Tokens of the rows of a short trial; of a long one (`_length_matters`), a multiple of this.
SHORT, GRAIN = 64, 256
# What was found, by model. A memory of what can be found again, not a state.
_found: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def reading_way(model: Any, longest: int = 0) -> Way:
    """How rows that begin alike are read.

    Args:
        model: in the state it will be used in.
        longest: tokens of the longest row that will be read.
    """
    length = _trial_length(model, longest)
    why = _beyond_switch(model, longest)
    if why:
        return _say(model, "plain", f"A common start is read with every row: {why}.")
    return _remembered(model, ("reading", length), lambda: _reading_way(model, length))


def generating_way(model: Any, longest: int = 0) -> Way:
    """How answers are written behind a common start.

    Args:
        longest: tokens of the longest row, its answer included.
    """
    way = reading_way(model, longest)
    if way == "plain":
        return way
    reach = trials.window(model)
    if reach and longest > reach:
        # Padding between start and rest would push the start out of the window.
        why = f"its window is {reach} tokens, the longest row {longest}"
        return _say(model, "plain", f"Answers are written without a cached start: {why}.")
    length = _trial_length(model, longest)
    return _remembered(model, ("generating", length), lambda: _generating_way(model, way, length))


def reading_together(model: Any) -> Together:
    """Which whole rows may be read in one call, padded on the right."""

    def find() -> Together:
        return _together(
            model, trials.reads_padded(model), lambda: trials.reads_together(model), "read"
        )

    return _remembered(model, "reading together", find)


def generating_together(model: Any) -> Together:
    """Which requests may be answered in one call of `generate`, padded on the left."""

    def find() -> Together:
        padded = trials.generates_padded(model, SHORT)
        return _together(
            model, padded, lambda: trials.generates_together(model), "answered"
        )  # fmt: skip

    return _remembered(model, "generating together", find)


def training_layout(
    model: Any, wanted: Layout, forward: Callable[..., Any] | None = None
) -> tuple[Layout, Together]:
    """How a training step's sequences are laid out, and which may stand in one call.

    Args:
        wanted: as the settings have it; "packed" is kept where the model separates what is packed.
        forward: a wrapper whose parameters are spread over processes. All make one call then.

    Raises:
        GenPIError: the processes must make one call each, and the model can't take what it needs.
    """
    with steady(model, forward):
        return _training_layout(model, wanted, forward)


def check_one_call(model: Any, longest: int, forward: Callable[..., Any] | None = None) -> None:
    """Any rows must be right in one call, which processes that share their parameters make in step.

    Args:
        model: in the state it will be used in.
        longest: tokens of the longest row; 0 where that is not known.
        forward: a wrapper around the model.

    Raises:
        GenPIError: the model reads rows otherwise beside others.
    """
    check_no_switch(model, longest)
    if why := trials.reads_padded(model, forward):
        raise _not_one_call(model, why)


def check_no_switch(model: Any, longest: int) -> None:
    """As `check_one_call`, of what the config alone says, before the model can be called.

    Raises:
        GenPIError: rows as long as the longest are read in a call of their own.
    """
    if why := _beyond_switch(model, longest):
        raise _not_one_call(model, why)


def _not_one_call(model: Any, why: str) -> GenPIError:
    return GenPIError(
        f"{_name(model)} reads a row otherwise beside others ({why}), and processes that share "
        "their parameters must make one call for all.",
        "train without FSDP and ZeRO-3, with `sample_packing: false`.",
    )


def _training_layout(
    model: Any, wanted: Layout, forward: Callable[..., Any] | None
) -> tuple[Layout, Together]:
    spread = forward is not None
    layout = wanted
    if layout == "packed" and (why := trials.separates_packed(model, forward)):
        layout = "padded" if spread else "bucketed"
        _say(model, layout, "Sequences are padded instead of packed, which this model would not "
             f"keep apart: {why}.")  # fmt: skip
    if layout == "packed":
        return layout, "padded"
    if not spread:
        return layout, reading_together(model)
    check_one_call(model, 0, forward)
    return layout, "padded"


def split(
    model: Any,
    lengths: Sequence[int],
    together: Together,
    written: Sequence[int] | None = None,
) -> list[list[int]]:
    """Rows (indices, in their order) parted into calls, so that each is read as if by itself.

    Args:
        lengths: tokens of each row, its answer included where one will be written.
        together: which rows this model takes in one call.
        written: how many of them will be written in the call; none by default.
    """
    switch = trials.rope_switch(base_of(model).config)
    growing = trials.kind_of(trials.rope_of(base_of(model).config)) == "dynamic"
    calls: dict[Any, list[int]] = {}
    for place, length in enumerate(lengths):
        over = bool(switch) and length > switch
        # While it is written, a row that crosses the switch is on this side and then on the other.
        crossing = over and length - (written[place] if written else 0) <= switch
        alone = together == "alone" or crossing or (over and growing)
        part = (place,) if alone else length if together == "equal" else None
        calls.setdefault((over, part), []).append(place)
    return list(calls.values())


def begin(model: Any, longest: int) -> None:
    """Before a call with a row of `longest` tokens: forget how long earlier rows were.

    "dynamic" positions grow with the longest row so far, and stay so for shorter ones until a row
    comes that needs none of it.
    """
    config = base_of(model).config
    if longest > trials.rope_switch(config) and trials.kind_of(trials.rope_of(config)) == "dynamic":
        with torch.no_grad():
            model(input_ids=torch.tensor([test_ids(model, 1)], device=model.device))


def _reading_way(model: Any, length: int) -> Way:
    for way in ("shared", "copied"):
        why = trials.reads_behind(model, way, length)
        if not why:
            return way
    return _say(model, "plain", f"A common start is read with every row: {why}.")


def _generating_way(model: Any, way: Way, length: int) -> Way:
    why = trials.generates_behind(model, way, length)
    if why and way == "shared":
        way = "copied"
        why = trials.reads_behind(model, way, length) or trials.generates_behind(model, way, length)
    if not why:
        return way
    return _say(model, "plain", f"Answers are written without a cached start: {why}.")


def _together(model: Any, padded: str, equal: Callable[[], str], what: str) -> Together:
    if not padded:
        return "padded"
    if not (why := equal()):
        return _say(model, "equal", f"Rows of one length only are {what} in one call: {padded}.")
    return _say(model, "alone", f"Rows are {what} one by one: {why}.")


def _beyond_switch(model: Any, longest: int) -> str:
    switch = trials.rope_switch(base_of(model).config)
    if switch and longest > switch:
        return f"beyond {switch} tokens its positions are read in another way, by the longest row"
    return ""


def _trial_length(model: Any, longest: int) -> int:
    """How long the rows of a trial are: as long as those to come where that may matter."""
    if longest <= SHORT or not _length_matters(model):
        return SHORT
    config = base_of(model).config
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    # Not across a limit that the rows themselves do not cross.
    limits = [most, trials.window(model), trials.rope_switch(config)]
    above = [limit for limit in limits if limit and limit >= longest]
    return min([-(-longest // GRAIN) * GRAIN, *above])


def _length_matters(model: Any) -> bool:
    """Whether long rows may be read in another way than short ones: windows, chunks, and
    positions that are more than rotated or added."""
    config = base_of(model).config.get_text_config()
    named = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")
    if any(getattr(config, name, None) for name in named) or trials.window(model):
        return True
    return trials.kind_of(trials.rope_of(config)) not in {"", "default", "linear", "llama3", "yarn"}


def told(model: Any) -> list[str]:
    """Why the model is not called in the fastest way: the lines that were logged."""
    return list(_found.get(base_of(model), {}).get("told", ()))


def _remembered(model: Any, key: Any, find: Callable[[], Any]) -> Any:
    base = base_of(model)
    found = _found.setdefault(base, {})
    key = (key, base.config._attn_implementation, base.dtype, base.device)
    if key not in found:
        found[key] = find()
    return found[key]


def _say(model: Any, verdict: Any, text: str) -> Any:
    """Log once what costs something; gives the verdict back."""
    lines = _found.setdefault(base_of(model), {}).setdefault("told", {})
    if text not in lines and os.environ.get("RANK", "0") == "0":
        LOG.info("genpi: %s: %s", _name(model), text)
    lines[text] = verdict
    return verdict


def _name(model: Any) -> str:
    return str(base_of(model).config.model_type)
