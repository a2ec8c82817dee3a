"""From a server's chat completion to an `Answer`: what it tells is kept, the rest is None."""

from __future__ import annotations

import json
from typing import Any

from synth.engines.base import Answer, ToolCall, Usage
from synth.engines.server.faults import AGAIN, not_a_completion
from synth.errors import RequestError, RowError

# How servers say that an answer is whole; None where they don't.
WHOLE = {
    "stop", "eos", "eos_token", "stop_sequence", "end_turn", "tool_calls", "function_call", None,
}  # fmt: skip
# Where they put the thoughts: vLLM before 0.11, SGLang, llama.cpp, DeepSeek; vLLM, Ollama,
# OpenRouter.
REASONING = ("reasoning_content", "reasoning")


def to_answer(reply: Any, url: str) -> Answer:
    """A chat completion as an `Answer`; an answer without text is an empty one.

    Args:
        reply: an `openai.types.chat.ChatCompletion`, whose fields nobody has checked.
        url: the server's address, for messages.

    Raises:
        RowError: the content filter took the answer.
        RequestError: it is no chat completion, or the server broke the answer off.
    """
    try:
        choice = reply.choices[0]
        message = choice.message
        finish, text = choice.finish_reason, message.content
        calls = _tool_calls(getattr(message, "tool_calls", None))
    except (AttributeError, TypeError, IndexError):
        raise not_a_completion(url, str(reply)) from None
    if finish == "content_filter":
        raise RowError("refused by the server's content filter")
    if text is not None and not isinstance(text, str):
        raise not_a_completion(url, str(reply))
    if finish not in WHOLE | {"length"}:
        raise RequestError(
            f"{url} broke off an answer ({finish}).", f"Look at the server's log. {AGAIN}"
        )
    ids = _numbers(getattr(choice, "token_ids", None), int)
    return Answer(
        text=_clean(text or ""),
        finish="length" if finish == "length" else "stop",
        reasoning=_reasoning(message),
        tool_calls=calls,
        token_ids=ids,
        logprobs=_logprobs(choice, ids),
        usage=_usage(reply),
    )


def _clean(text: str) -> str:
    """The text without halves of characters that take two, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _reasoning(message: Any) -> str | None:
    for name in REASONING:
        thoughts = getattr(message, name, None)
        if isinstance(thoughts, str) and thoughts.strip():
            return _clean(thoughts)
    return None


def _tool_calls(calls: Any) -> tuple[ToolCall, ...] | None:
    """The calls of a message; None where there are none.

    Raises:
        AttributeError, TypeError: a call that names no function.
    """
    if not calls:
        return None
    return tuple(_tool_call(call) for call in calls)


def _tool_call(call: Any) -> ToolCall:
    # The client has classes for some of what servers send and leaves the rest as it is.
    function = call["function"] if isinstance(call, dict) else call.function
    fields = function if isinstance(function, dict) else vars(function)
    name, arguments = fields.get("name"), fields.get("arguments")
    if not isinstance(name, str):
        raise TypeError("a call that names no function")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
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
