"""Rows that hold the teacher's distributions, as plain forward passes of a model give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset

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


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as the synthesizer does: ids as int32, log-probabilities as float16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = Dataset.from_list(rows).data.table
    for name, kind in (("top_ids", pa.int32()), ("top_logprobs", pa.float16())):
        if name in rows[0]:
            nested = pa.list_(pa.list_(pa.list_(kind)))
            values = pa.array([row[name] for row in rows], nested)
            table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, path)


def add_told(place: Path, top_k: int = 20) -> None:
    """`data/told` beside `data/shop`: its rows, told by the model in `tiny`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    view = ChatView(AutoTokenizer.from_pretrained(place / "tiny"))
    model = AutoModelForCausalLM.from_pretrained(place / "tiny", dtype=torch.float32).eval()
    for path in sorted((place / "data" / "shop" / "data").glob("*.parquet")):
        rows = [told_row(row, view, model, top_k) for row in pq.read_table(path).to_pylist()]
        write_parquet(place / "data" / "told" / "data" / path.name, rows)
