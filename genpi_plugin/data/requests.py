"""What is sent before an answer: with the prompt before it (teacher), or without (student, floor).

Where a prompt has slots, the teacher reads their values in it, as the application sends it today,
and the others read what is kept, which tells these values: no message of that is the teacher's.
Where it has none, all of them read what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from genpi_plugin.data.messages import Message
from genpi_plugin.data.slots import fill_messages


@dataclass(frozen=True)
class Valued:
    """A request with values for the slots of its prompt.

    `kept` is what tells them where there is no prompt, and `messages` the request without it.
    """

    kept: list[Message]
    messages: list[Message]
    values: dict[str, str]


# What is asked: a user's text, the messages of a request, or these with values for slots.
Input = str | list[Message] | Valued


def under(prompt: Sequence[Message], asked: Input) -> list[Message]:
    """The messages of a request behind a prompt; behind none where that is empty."""
    if isinstance(asked, Valued):
        before = fill_messages(prompt, asked.values) if prompt else asked.kept
        return teacher_messages(before, asked.messages)
    if isinstance(asked, str):
        return teacher_messages(prompt, [{"role": "user", "content": asked}])
    return teacher_messages(prompt, asked)


def continued(asked: Input, turns: Sequence[Message]) -> list[Message] | Valued:
    """A request with further turns behind it."""
    if isinstance(asked, Valued):
        return replace(asked, messages=[*asked.messages, *turns])
    return [*under([], asked), *turns]


def with_values_of(other: Input, asked: str | list[Message]) -> Input:
    """The same asked with the values of another request, where that has some."""
    if not isinstance(other, Valued):
        return asked
    return replace(other, messages=under([], asked))


def values_of(asked: Input) -> Mapping[str, str]:
    """The values of a request; none where it has none."""
    return asked.values if isinstance(asked, Valued) else {}


def teacher_messages(prompt: Sequence[Message], messages: Sequence[Message]) -> list[Message]:
    """Put the prompt before a conversation that begins with a user turn.

    A prompt that ends in a user turn ("Now, my problem is:") continues in the first message.
    """
    if prompt and prompt[-1]["role"] == "user" and messages[0]["role"] == "user":
        joined = f"{prompt[-1]['content']}\n\n{messages[0]['content']}"
        return [*prompt[:-1], {**messages[0], "content": joined}, *messages[1:]]
    return [*prompt, *messages]
