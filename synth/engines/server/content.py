"""The texts of a message: what is said, what was thought, and what is neither.

A message's content is a text, or a list of parts of which each says what it is.
"""

from __future__ import annotations

from typing import Any

# Where servers put the thoughts: vLLM before 0.11, SGLang, llama.cpp, DeepSeek; vLLM, Ollama,
# OpenRouter; gateways.
REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
SAID = {"text", "output_text"}
THOUGHT = {"thinking", "reasoning", "reasoning_text", "summary_text", "redacted_thinking"}
# What an answer may hold beside its text: pictures (OpenRouter), speech (OpenAI).
OTHERS = ("images", "audio")
# What a part of text or thoughts may hold its own text in.
INSIDE = ("text", "thinking", "reasoning", "summary", "content")


def said_and_thought(message: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """The text of a message, its thoughts, and the kinds of its parts that are neither.

    The thoughts are None where there are none, and "" where a part says that there were some and
    not what they are.

    Raises:
        TypeError: the content is no text and no list of parts.
    """
    said: list[str] = []
    thought: list[str] = []
    others: list[str] = []
    content = message.content
    for part in content if isinstance(content, list) else [content]:
        kind = str(part.get("type", "text")) if isinstance(part, dict) else "text"
        if kind in THOUGHT:
            thought.append(_text(part))
        elif kind in SAID:
            if not (part is None or isinstance(part, str | dict)):
                raise TypeError("a content that is no text")
            said.append(_text(part))
        elif kind == "refusal":
            others.append(f"refusal: {part.get('refusal') or ''}".rstrip(": "))
        else:
            others.append(kind)
    besides = [getattr(message, name, None) for name in REASONING]
    beside = next((text for text in map(_text, besides) if text.strip()), None)
    if beside is None and any(isinstance(one, list | dict) and one for one in besides):
        beside = ""  # thoughts that are encrypted
    if beside is not None:
        thought.append(beside)
    others += [name for name in OTHERS if getattr(message, name, None)]
    refusal = getattr(message, "refusal", None)
    if isinstance(refusal, str) and refusal.strip():
        others.append(f"refusal: {refusal}")
    thoughts = "\n".join(one for one in thought if one.strip()) if thought else None
    return "".join(said), thoughts, tuple(others)


def _text(value: Any) -> str:
    """All text in a value: itself, that of its parts, or what a part holds."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text, value))
    if isinstance(value, dict):
        return next((_text(value[name]) for name in INSIDE if value.get(name)), "")
    return ""
