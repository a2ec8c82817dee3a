"""The requests to keep of a training run, from its config."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from axolotl.utils.logging import get_logger

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.keeping.answers import Writer
from genpi_plugin.keeping.keeping import Keeping
from genpi_plugin.keeping.own import own_requests
from genpi_plugin.keeping.prompt import KeepPrompt, recorded_prompt
from genpi_plugin.keeping.requests import (
    OWN,
    KeepRequest,
    check_lengths,
    read_requests,
    rendered,
)
from genpi_plugin.reading.context import context_of_model
from genpi_plugin.reading.generation import end_tokens, pad_token
from genpi_plugin.teacher.teacher import Teacher

LOG = get_logger("axolotl.genpi")
FOLDER = "keep"
# Tokens in caches while answers are written, for one of the reference's token budget. A guess, not
# measured: a token that is only cached takes less memory than one that is read for targets.
CACHED = 8


def open_keeping(
    cfg: Any,
    settings: GenPISettings,
    tokenizer: Any,
    model: Any,
    reference: Teacher,
    facts: dict[str, Any],
) -> Keeping:
    """The requests to keep, read and checked; those of the model's own are not written yet.

    Args:
        cfg: the axolotl config.
        reference: reads them; beside its targets are the answers.
        facts: gets number and digest of the requests, once they are known.

    Raises:
        GenPIError: requests that can't be read or rendered, or are too long.
    """
    view = ChatView(tokenizer, _template_arguments(cfg))
    reference.called = f"the {settings.keep}"
    prompt = None
    if settings.keep == "teacher":
        prompt = recorded_prompt(str(cfg.dataset_prepared_path))
    seed = 42 if cfg.seed is None else int(cfg.seed)
    folder = reference.store.folder / FOLDER
    pad = pad_token(tokenizer)

    def writer(end_ids: list[int]) -> Writer:
        budget = CACHED * reference.token_budget
        return Writer(folder, end_ids, pad, seed, reference.with_adapter, budget)

    finish = partial(_finished, view, prompt, settings, int(cfg.sequence_len))
    if settings.keep_inputs == OWN:
        turns = writer(sorted(view.tokens.marks))

        def requests(model: Any, accelerator: Any, step: int) -> list[KeepRequest]:
            asked = own_requests(view, turns, model, accelerator, step)
            return finish(asked, context_of_model(model))
    else:
        asked, notes = read_requests(settings.keep_inputs)
        for note in notes:
            LOG.warning(f"genpi: {note}")
        given = finish(asked, context_of_model(model))

        def requests(model: Any, accelerator: Any, step: int) -> list[KeepRequest]:
            return given

    return Keeping(
        requests,
        writer(end_tokens(model, view)),
        reference,
        settings.keep_rows,
        settings.keep_tokens,
        seed,
        facts,
    )


def _finished(
    view: ChatView,
    prompt: KeepPrompt | None,
    settings: GenPISettings,
    sequence_len: int,
    asked: Any,
    context: int | None,
) -> list[KeepRequest]:
    found = rendered(asked, view, prompt)
    check_lengths(found, settings.keep_tokens, sequence_len, context)
    return found


def _template_arguments(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Of the first dataset, as its rows are rendered with."""
    own = cfg["datasets"][0].get("chat_template_kwargs") or {}
    return {**(cfg.get("chat_template_kwargs") or {}), **own}
