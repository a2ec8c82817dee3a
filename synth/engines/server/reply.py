"""From a server's chat completion to an `Answer`: what it tells is kept, the rest is None."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from synth.engines.base import Answer, ToolCall, Usage
from synth.engines.server.content import said_and_thought
from synth.engines.server.faults import AGAIN, not_a_completion, told_error
from synth.engines.server.finish import how_it_ended, named_calls, reached_limit
from synth.errors import RequestError, RowError


def to_answer(reply: Any, url: str, body: Mapping[str, Any]) -> Answer:
    """A chat completion as an `Answer`; an answer without text is an empty one.

    Args:
        reply: an `openai.types.chat.ChatCompletion`, whose fields nobody has checked.
        url: the server's address, for messages.
        body: the request that it answers.

    Raises:
        RowError: the content filter took the answer, the model refused it, or it is (also)
            something else than text, thoughts and tool calls, or ended in a way that is not known.
        RequestError: it is no chat completion, or the server broke the answer off.
        openai.APIStatusError: it tells of an error, with the status of an answer.
    """
    if (error := told_error(reply)) is not None:
        raise error
    try:
        choice = reply.choices[0]
        message = choice.message
        end = how_it_ended(choice.finish_reason)
        text, thoughts, others = said_and_thought(message)
        calls = _tool_calls(message)
    except (AttributeError, TypeError, IndexError):
        raise not_a_completion(url, str(reply)) from None
    if end == "filtered":
        raise RowError("refused by the server's content filter")
    if end == "broken":
        raise RequestError(
            f"{url} broke off an answer ({choice.finish_reason}).",
            f"Look at the server's log. {AGAIN}",
        )
    if end == "unknown":
        raise RowError(
            f"ended in an unknown way ({choice.finish_reason})",
            f"The server gives this finish_reason to: {text[:200]!r}",
        )
    if len(reply.choices) > 1:
        raise RowError(
            f"answered {len(reply.choices)} times",
            "A request takes one answer: leave `n` out of the request's arguments.",
        )
    if calls is None and named_calls(choice.finish_reason):
        raise RowError(
            f"called a tool that is not in the answer ({choice.finish_reason})",
            f"The server's parser of tool calls lost it. Beside it stands: {text[:200]!r}",
        )
    if others:
        kinds = ", ".join(dict.fromkeys(kind.partition(":")[0] for kind in others))
        raise RowError(f"answered with what is no text ({kinds})", "; ".join(others)[:400])
    usage = _usage(reply)
    if thoughts is None and _thought_in_secret(reply):
        thoughts = ""
    ids = _numbers(getattr(choice, "token_ids", None), int)
    # OpenRouter's word for what its own provider said.
    cut = "length" in (end, how_it_ended(getattr(choice, "native_finish_reason", None)))
    cut = cut or reached_limit(usage.completion_tokens, body)
    return Answer(
        text=_clean(text),
        finish="length" if cut else "stop",
        reasoning=None if thoughts is None else _clean(thoughts),
        tool_calls=calls,
        token_ids=ids,
        logprobs=_logprobs(choice, ids),
        usage=usage,
    )


def _clean(text: str) -> str:
    """The text without halves of characters that take two, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _thought_in_secret(reply: Any) -> bool:
    """Whether the server counts thoughts that it does not show."""
    details = getattr(getattr(reply, "usage", None), "completion_tokens_details", None)
    tokens = getattr(details, "reasoning_tokens", None)
    return isinstance(tokens, int) and tokens > 0


def _tool_calls(message: Any) -> tuple[ToolCall, ...] | None:
    """The calls of a message, also one of the older form; None where there are none.

    Raises:
        AttributeError, TypeError: a call that names no function.
    """
    calls = list(getattr(message, "tool_calls", None) or [])
    older = getattr(message, "function_call", None)
    if older and not calls:
        calls = [{"function": older}]
    return tuple(_tool_call(call) for call in calls) or None


def _tool_call(call: Any) -> ToolCall:
    # The client has classes for some of what servers send and leaves the rest as it is.
    given = call if isinstance(call, dict) else vars(call) | (call.model_extra or {})
    function = given.get("function") or given.get("custom")
    fields = function if isinstance(function, dict) else vars(function)
    name, arguments = fields.get("name"), fields.get("arguments", fields.get("input"))
    if not isinstance(name, str):
        raise TypeError("a call that names no function")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    if not arguments.strip():
        arguments = "{}"  # of a tool without parameters
    number = call.get("id") if isinstance(call, dict) else getattr(call, "id", None)
    return ToolCall(str(number or ""), _clean(name), _clean(arguments))


def _logprobs(choice: Any, ids: tuple[int, ...] | None) -> tuple[float, ...] | None:
    """The sampled tokens' log-probabilities; None where they are not those of the token ids."""
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not isinstance(content, list):
        return None
    found = _numbers([getattr(one, "logprob", None) for one in content], float)
    return None if found is None or (ids is not None and len(ids) != len(found)) else found


def _numbers(values: Any, kind: type) -> tuple[Any, ...] | None:
    numbers = (int,) if kind is int else (int, float)
    if not isinstance(values, list) or not values:
        return None
    if any(isinstance(value, bool) or not isinstance(value, numbers) for value in values):
        return None
    return tuple(map(kind, values))


def _usage(reply: Any) -> Usage:
    usage = getattr(reply, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    read, written = (n if isinstance(n, int) and not isinstance(n, bool) else None for n in counts)
    cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
    if read is not None and isinstance(cached, int) and cached > read:
        read += cached  # this server counts those in its cache apart
    # No request has no tokens: a server that says so has not counted.
    return Usage(read or None, written if read else written or None)
