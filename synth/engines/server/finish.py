"""How an answer ended: the words that servers have for it, and whether the limit cut it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

End = Literal["stop", "length", "filtered", "broken", "unknown"]

# Servers' spellings, whatever their case, `_`, `-` and `FINISH_REASON_`: OpenAI's own, then those
# of TGI, Anthropic, Gemini, Mistral, Cohere, Bedrock and of gateways that pass them on.
CALLS = {"tool_calls", "function_call", "tool_use", "tool_call"}
WHOLE = CALLS | {
    "", "stop",
    "eos", "eos_token", "end", "end_turn", "end_of_turn", "stop_sequence", "stop_token",
    "complete", "completed", "finished", "done",
}  # fmt: skip
CUT = {
    "length", "max_tokens", "max_token", "max_output_tokens", "max_completion_tokens",
    "max_new_tokens", "max_length", "token_limit", "model_length", "context_length",
    "model_context_window_exceeded",
}  # fmt: skip
FILTERED = {
    "content_filter", "content_filtered", "guardrail_intervened", "safety", "recitation",
    "blocklist", "prohibited_content", "spii", "sensitive", "refusal",
}  # fmt: skip
# It came to no end, for a reason of the server's: another time it may.
BROKEN = {
    "abort", "aborted", "cancelled", "canceled", "error", "network_error", "timeout",
    "insufficient_system_resource",
}  # fmt: skip
ENDS: dict[End, set[str]] = {
    "stop": WHOLE, "length": CUT, "filtered": FILTERED, "broken": BROKEN,
}  # fmt: skip
# What bounds an answer, under the names that requests have for it.
LIMITS = ("max_tokens", "max_completion_tokens")


def how_it_ended(reason: Any) -> End:
    """What a `finish_reason` says; None and "" are those of a server that does not say.

    Raises:
        TypeError: it is no text.
    """
    if reason is None:
        return "stop"
    if not isinstance(reason, str):
        raise TypeError("a finish_reason that is no text")
    word = _squeezed(reason).removeprefix("finishreason")
    for end, words in ENDS.items():
        if word in map(_squeezed, words):
            return end
    return "unknown"


def named_calls(reason: Any) -> bool:
    """Whether a `finish_reason` says that the answer calls tools."""
    return isinstance(reason, str) and _squeezed(reason) in map(_squeezed, CALLS)


def reached_limit(written: int | None, body: Mapping[str, Any]) -> bool:
    """Whether an answer of so many tokens has all that its request allowed.

    Some servers say "stop" of an answer that the limit cut.

    Args:
        written: tokens of the answer, as the server counts them; None where it does not.
        body: the request.
    """
    limits = [body[name] for name in LIMITS if isinstance(body.get(name), int)]
    return written is not None and bool(limits) and written >= min(limits)


def _squeezed(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())
