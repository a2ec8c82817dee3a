"""A model's answer as a turn of the conversation: what the row holds of it.

White space is the model's, and stays. Thoughts stand beside the text where the engine, or the
answer's own tokens, tell them apart. Where a server wrote both into one text and told no tokens,
that text is the turn: it is what was sampled, and what a client would send back.
"""

from __future__ import annotations

from dataclasses import dataclass

from synth.engines.base import Answer, Message


@dataclass(frozen=True)
class Turn:
    """An assistant's message, its tokens as sampled (None: not known), and their tokenizer."""

    message: Message
    token_ids: tuple[int, ...] | None = None
    tokenizer: str = ""


def turn_of(answer: Answer) -> Turn:
    """The turn that a whole answer is."""
    known = answer.token_ids if answer.tokenizer else None
    if answer.written is not None and known is None:
        return Turn(Message("assistant", answer.written))
    message = Message(
        "assistant",
        answer.text,
        reasoning_content=answer.reasoning or "",
        tool_calls=answer.tool_calls or (),
    )
    return Turn(message, known, (answer.tokenizer or "") if known else "")
