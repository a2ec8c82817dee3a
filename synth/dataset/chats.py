"""The dataset as plain conversations, for trainers that know nothing of prompts to internalize."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from genpi_plugin.data.messages import arguments_of
from genpi_plugin.data.requests import Valued, under
from genpi_plugin.data.rows import Message
from synth.dataset.splits import read_batches
from synth.errors import SynthError

FORMS = ("messages", "sharegpt", "openai")
# Forms without a place for thoughts.
THOUGHTLESS = {"sharegpt": "ShareGPT's form", "openai": "OpenAI's fine-tuning"}
SHAREGPT = {
    "system": "system",
    "developer": "system",
    "user": "human",
    "assistant": "gpt",
    "tool": "observation",
}


def conversations(path: Path, form: str, with_prompt: bool) -> Iterator[dict[str, Any]]:
    """A split's rows as objects for lines of JSON.

    Args:
        path: the split's Parquet file.
        form: "messages" (`{id, prompt_id, messages}`), "sharegpt" (`{id, conversations}` of
            `{from, value}`), or "openai" (`{messages}` alone, as its fine-tuning takes them). With
            the prompt, and in OpenAI's form, which takes no call of a tool that is not told, they
            have the teacher's `tools`.
        with_prompt: whether each begins with the prompt, as the teacher saw it; without it, it is
            what the student is to do.

    Raises:
        SynthError: the file can't be read, or there are thoughts, for which the form has no place.
    """
    for table in read_batches(path):
        for row in table.to_pylist():
            yield _as(form, row, _said(row, with_prompt), with_prompt)


def _said(row: Mapping[str, Any], with_prompt: bool) -> list[Message]:
    """The row's messages, without the nulls that pad their columns."""
    request = row.get("request") or [{"role": "user", "content": row["input"]}]
    kept, said = _bare(row.get("kept") or []), _bare([*request, *row["conversation"]])
    values = json.loads(row.get("slots") or "{}")
    asked = Valued(kept, said, values) if values else [*kept, *said]
    return under(_bare(row["prompt"]) if with_prompt else [], asked)


def _bare(messages: Iterable[Mapping[str, Any]]) -> list[Message]:
    return [{name: value for name, value in one.items() if value not in (None, [])}
            for one in messages]  # fmt: skip


def _as(
    form: str, row: Mapping[str, Any], messages: list[Message], with_prompt: bool
) -> dict[str, Any]:
    if form in THOUGHTLESS and any("reasoning_content" in message for message in messages):
        raise SynthError(
            f"The answers have thoughts, and {THOUGHTLESS[form]} has no place for them.",
            "Give --format messages.",
        )
    calls = form == "openai" and any("tool_calls" in message for message in messages)
    tools = json.loads(row["tools"]) if (with_prompt or calls) and row.get("tools") else []
    if form == "sharegpt":
        turns = [turn for message in messages for turn in _sharegpt(message)]
        more = {"tools": json.dumps(tools, ensure_ascii=False)} if tools else {}
        return {"id": row["id"], "conversations": turns, **more}
    named = {} if form == "openai" else {"id": row["id"], "prompt_id": row["prompt_id"]}
    return {**named, "messages": messages, **({"tools": tools} if tools else {})}


def _sharegpt(message: Message) -> Iterator[dict[str, str]]:
    """A message as turns of `{from, value}`: text and each call are turns of their own."""
    calls = message.get("tool_calls", [])
    if message["content"] or not calls:
        yield {"from": SHAREGPT[message["role"]], "value": message["content"]}
    for call in calls:
        called = {"name": call["function"]["name"], "arguments": arguments_of(call)}
        yield {"from": "function_call", "value": json.dumps(called, ensure_ascii=False)}
