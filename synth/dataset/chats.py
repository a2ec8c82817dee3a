"""The dataset as plain conversations, for trainers that know nothing of prompts to internalize."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genpi_plugin.data.rows import Message, teacher_messages
from synth.dataset.splits import read_batches

FORMS = ("messages", "sharegpt", "openai")
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def conversations(path: Path, form: str, with_prompt: bool) -> Iterator[dict[str, Any]]:
    """A split's rows as objects for lines of JSON.

    Args:
        path: the split's Parquet file.
        form: "messages" (`{id, prompt_id, messages}`), "sharegpt" (`{id, conversations}` of
            `{from, value}`), or "openai" (`{messages}` alone, as its fine-tuning takes them).
        with_prompt: whether each begins with the prompt, as the teacher saw it; without it, it is
            what the student is to do.

    Raises:
        SynthError: the file can't be read.
    """
    for table in read_batches(path):
        for row in table.to_pylist():
            yield _as(form, row, _messages(row, with_prompt))


def _messages(row: Mapping[str, Any], with_prompt: bool) -> list[Message]:
    said: list[Message] = [{"role": "user", "content": row["input"]}, *row["conversation"]]
    return teacher_messages(row["prompt"], said) if with_prompt else said


def _as(form: str, row: Mapping[str, Any], messages: list[Message]) -> dict[str, Any]:
    if form == "openai":
        return {"messages": messages}
    if form == "messages":
        return {"id": row["id"], "prompt_id": row["prompt_id"], "messages": messages}
    turns = [{"from": SHAREGPT[turn["role"]], "value": turn["content"]} for turn in messages]
    return {"id": row["id"], "conversations": turns}
