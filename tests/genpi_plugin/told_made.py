"""Rows that hold the teacher's distributions, as plain forward passes of a model give them."""

from __future__ import annotations

from typing import Any

import torch

from genpi_plugin.data import tokenizers
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.rows import parse


def told_row(
    raw: dict[str, Any], view: ChatView, model: Any, top_k: int | None = None
) -> dict[str, Any]:
    """A row with `token_ids`, and the model's distributions at them after the row's prompt.

    Args:
        top_k: entries a token; None for the whole vocabulary.
    """
    row = parse(raw, "a row to be told")
    tokens, top_ids, top_logprobs = [], [], []
    for turn, message in enumerate(row.conversation):
        if message["role"] != "assistant":
            continue
        history = [*row.teacher_request, *row.conversation[:turn]]
        request, answer = view.request_and_answer(history, message, row.tools)
        with torch.no_grad():
            logits = model(torch.tensor([[*request, *answer]]), use_cache=False).logits[0]
        logprobs = logits[len(request) - 1 : -1].log_softmax(-1)
        top = logprobs.topk(top_k or logprobs.shape[-1], dim=-1)
        tokens.append(answer)
        top_ids.append(top.indices.tolist())
        top_logprobs.append(top.values.half().tolist())
    mark = tokenizers.mark(view.tokenizer)
    told = {"token_ids": tokens, "tokenizer": mark, "top_ids": top_ids}
    return {**raw, **told, "top_logprobs": top_logprobs}
