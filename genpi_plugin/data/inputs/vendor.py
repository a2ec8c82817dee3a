"""A message as logs hold it, brought into a row's form; what means nothing for it is left out.

Nothing that was said is left out: a part that is no text, or a key that is not known, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from genpi_plugin.data.messages import Message, kind, parse_messages
from genpi_plugin.errors import RowError

# Keys of a message, or of a call, that are about it and not of it.
ABOUT = {
    "id", "created", "created_at", "timestamp", "time", "date", "index", "model", "object",
    "usage", "logprobs", "annotations", "finish_reason", "stop_reason", "metadata", "status",
    "latency", "token_count", "feedback", "reasoning_details",
}  # fmt: skip
# The same, where their value says that there is nothing to it.
UNMARKED = {"weight": (1, 1.0, None), "train": (True, None), "type": ("message", None)}
TEXT_PARTS = {"text", "input_text", "output_text"}
THOUGHTS = "reasoning"


def messages_of(
    value: Any, name: str, where: str, ignored: set[str], from_json: bool
) -> list[Message]:
    """Messages of a log, checked as those of a row are.

    Args:
        value: what stands in the log.
        name: of the field it stands in.
        where: the log, for messages.
        ignored: gets the keys that are left out.
        from_json: nulls among a call's arguments were given; in a table they may be padding.

    Raises:
        RowError: names the message and its key.
    """
    if not isinstance(value, list | tuple):
        return parse_messages(value, name, where)
    cleaned = [
        _cleaned(one, f"{name}[{number}]", where, ignored, from_json)
        if isinstance(one, Mapping)
        else one
        for number, one in enumerate(value)
    ]
    return parse_messages(cleaned, name, where)


def joined(parts: Sequence[Any], name: str, where: str) -> str:
    """The text of a content in parts: one below the other, as servers give them to a template.

    Raises:
        RowError: a part is an image, or something else that is no text.
    """
    texts = []
    for number, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
            continue
        said = part.get("type") if isinstance(part, Mapping) else kind(part)
        text = part.get("text") if isinstance(part, Mapping) else None
        if said not in TEXT_PARTS or not isinstance(text, str):
            what = "an image" if "image" in str(said) else f"of the type {said!r}"
            raise RowError(
                f"{where}: the part `{name}[{number}]` is {what}; texts alone can be internalized.",
                "take the log out, or the part if the answers do not depend on it.",
            )
        texts.append(text)
    return "\n".join(texts)


def _cleaned(
    given: Mapping[str, Any], name: str, where: str, ignored: set[str], from_json: bool
) -> dict[str, Any]:
    message = _without(given, ABOUT, ignored)
    for key, values in UNMARKED.items():
        if key in message and any(message[key] is value or message[key] == value
                                  for value in values):  # fmt: skip
            del message[key]
    if isinstance(message.get("content"), list | tuple):
        message["content"] = joined(message["content"], f"{name}.content", where)
    thought = message.get(THOUGHTS)
    if isinstance(thought, str) and message.get("reasoning_content") in (None, "", thought):
        message["reasoning_content"] = message.pop(THOUGHTS)
    calls = message.get("tool_calls")
    if isinstance(calls, list | tuple):
        message["tool_calls"] = [_call(one, ignored, from_json) for one in calls]
    return message


def _call(given: Any, ignored: set[str], from_json: bool) -> Any:
    if not isinstance(given, Mapping):
        return given
    call = _without(given, ABOUT - {"id"}, ignored)
    function = call.get("function")
    if from_json and isinstance(function, Mapping):
        arguments = function.get("arguments")
        if isinstance(arguments, Mapping):
            text = json.dumps(arguments, ensure_ascii=False)
            call["function"] = {**function, "arguments": text}
    return call


def _without(given: Mapping[str, Any], keys: set[str], ignored: set[str]) -> dict[str, Any]:
    ignored |= {key for key in keys & set(given) if given[key] not in (None, "", [], {})}
    return {key: value for key, value in given.items() if key not in keys}
