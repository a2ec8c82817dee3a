"""A model's answer as a turn of the conversation: what the row holds of it.

White space is the model's, and stays. Thoughts stand beside the text where the engine, or the
answer's own tokens, tell them apart. Where a server wrote both into one text and told no tokens,
that text is the turn: it is what was sampled, and what a client would send back. Calls stand in the
turn's own field wherever they are known: a tool answers them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from synth.engines.base import Answer, Message
from synth.engines.tops import Tops
from synth.quality.thoughts import thoughts_apart
from synth.store.rows import Row

# How a conversation ended that did not go on behind it.
FIRST = "first answer"


@dataclass(frozen=True)
class Turn:
    """An assistant's message, its tokens as sampled (None: not known), their tokenizer, and the
    likeliest tokens at each (None: not told)."""

    message: Message
    token_ids: tuple[int, ...] | None = None
    tokenizer: str = ""
    tops: Tops | None = None


def turn_of(answer: Answer) -> Turn:
    """The turn that a whole answer is."""
    known = answer.token_ids if answer.tokenizer else None
    if answer.written is not None and known is None and not answer.tool_calls:
        return Turn(Message("assistant", answer.written))
    message = Message(
        "assistant",
        answer.text,
        reasoning_content=answer.reasoning or "",
        tool_calls=answer.tool_calls or (),
    )
    if not known:
        return Turn(message)
    tops = answer.tops if answer.tops is not None and answer.tops.known else None
    return Turn(message, known, answer.tokenizer or "", tops)


def answer_of(turn: Message, own: Sequence[str] = ()) -> Answer:
    """The answer that a turn of a log was, its thoughts apart (`thoughts_apart`)."""
    answer = Answer(turn.content, "stop", turn.reasoning_content or None, turn.tool_calls or None)
    return thoughts_apart(answer, own)


def in_agreement(row: Row, makes: Collection[str]) -> Row:
    """The row behind a stage that has made some of its fields, with what follows from these.

    Another teacher output begins the conversation anew, and no tokens are known of turns that
    came without.
    """
    if "teacher_output" in makes and "conversation" not in makes:
        first = Message("assistant", row.teacher_output)
        row = replace(row, conversation=(first,), conversation_end=FIRST)
        makes = {*makes, "conversation"}
    if "conversation" in makes and "token_ids" not in makes:
        row = replace(row, token_ids=(), tokenizer="")
    if {"conversation", "token_ids"} & set(makes) and "tops" not in makes:
        row = replace(row, tops=())
    return row
