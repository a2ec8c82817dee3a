"""OpenAI's requests as they are logged: a request with its response, lines of batch files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from genpi_plugin.data.inputs.file import Item
from genpi_plugin.data.inputs.packed import is_packed, unpacked
from genpi_plugin.data.messages import kind
from genpi_plugin.errors import RowError

CHAT = "/chat/completions"
BATCH = {"custom_id", "body"}
ANSWER, REQUESTS = {"custom_id", "response"}, {"body", "request", "messages"}


@dataclass(frozen=True)
class Parts:
    """A log taken apart.

    Attributes:
        request: holds the messages, and tools where there are any.
        answer: the message that answered it; None where none is logged.
        id: of the response.
        fault: why the answer is none to keep.
    """

    request: Mapping[str, Any]
    answer: Any = None
    id: str = ""
    fault: str = ""


def parts_of(value: Mapping[str, Any], form: str, where: str) -> Parts:
    """The request of a log, and its answer.

    Args:
        value: a log.
        form: the key that holds its messages or its request.
        where: its place, for messages.

    Raises:
        RowError: it is no request of chat completions, or its response holds no message.
    """
    url = value.get("url")
    if isinstance(url, str) and not url.rstrip("/").endswith(CHAT):
        raise RowError(
            f"{where}: it is a request to {url}; those to {CHAT} are read.", "take it out."
        )
    held = value.get(form)
    if not isinstance(held, Mapping):
        return _with_response(Parts(value), value, where)
    if isinstance(held.get("body"), Mapping | str):
        held = unpacked(held["body"], "body", where)
    if "messages" not in held:
        keys = ", ".join(held) or "none"
        cure = "a request of chat completions has `messages`."
        if "input" in held:
            cure += " Of the Responses API write `input` as `messages`."
        raise RowError(f"{where}: `{form}` holds no `messages`; its keys are {keys}.", cure)
    return _with_response(Parts(held), value, where)


def with_answers(items: Iterable[Item]) -> list[Item]:
    """A batch's answers put to its requests, where both stand in one file.

    Answers are known by `custom_id`. One whose request is not there stays an item of its own.
    """
    found: list[Item] = []
    requests: dict[Any, int] = {}
    answers: list[Item] = []
    for item in items:
        value = item.value
        if isinstance(value, dict) and set(value) >= BATCH and "response" not in value:
            requests.setdefault(str(value["custom_id"]), len(found))
        elif isinstance(value, dict) and set(value) >= ANSWER and REQUESTS.isdisjoint(value):
            answers.append(item)
            continue
        found.append(item)
    for item in answers:
        place = requests.get(str(item.value["custom_id"]))
        if place is None:
            found.append(item)
            continue
        both = {**found[place].value, "response": item.value["response"],
                "error": item.value.get("error")}  # fmt: skip
        found[place] = replace(found[place], value=both)
    return found


def _with_response(parts: Parts, value: Mapping[str, Any], where: str) -> Parts:
    response = value.get("response", value if "choices" in value else None)
    if value.get("error"):
        return replace(parts, fault="the request failed")
    if response is None:
        return parts
    response = _if_packed(response)
    if isinstance(response, Mapping) and isinstance(
        body := _if_packed(response.get("body")), Mapping
    ):
        status = response.get("status_code", 200)
        response = body
        if status != 200 or response.get("error"):
            return replace(parts, fault=f"the request failed (status {status})")
    choices = _if_packed(response.get("choices")) if isinstance(response, Mapping) else None
    if not isinstance(choices, list | tuple) or not choices:
        if isinstance(response, Mapping) and response.get("error"):
            return replace(parts, fault="the request failed")
        raise RowError(
            f"{where}: `response` is {kind(response)} without `choices`.",
            "write it as the server sent it, not in pieces of a stream, or leave it out.",
        )
    first = choices[0]
    message = first.get("message") if isinstance(first, Mapping) else None
    if not isinstance(message, Mapping):
        raise RowError(
            f"{where}: `response.choices[0]` holds no `message`.",
            "write it as the server sent it, not in pieces of a stream, or leave it out.",
        )
    fault = ""
    if len(choices) > 1:
        fault = f"{len(choices)} answers are logged, and which one was used is not"
    elif first.get("finish_reason") == "length":
        fault = "the token limit cut the answer"
    elif message.get("refusal"):
        fault = "the answer is a refusal"
    own_id = response.get("id")
    return replace(
        parts,
        answer=None if fault else message,
        fault=fault,
        id=own_id if isinstance(own_id, str) else "",
    )


def _if_packed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and is_packed(value) else value
