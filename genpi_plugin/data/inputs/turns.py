"""Which inputs a conversation that was logged gives: where the target answers, or what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genpi_plugin.data.messages import Message
from genpi_plugin.data.roles import check_conversation, check_request
from genpi_plugin.errors import RowError

ASK, LAST, KEEP = ANSWERS = ("ask", "last", "keep")
ASKING = ("user", "tool")


@dataclass(frozen=True)
class Asked:
    """A request out of a log, `turn` its answer's number among the log's answers, counted from 1;
    and what was answered, where that is kept. `goes_on`: the log has answers."""

    turn: int
    request: tuple[Message, ...]
    conversation: tuple[Message, ...] = ()
    goes_on: bool = False


def whole_request(messages: Sequence[Message], name: str, where: str) -> list[Asked]:
    """The one request that messages are which stand before an answer.

    Raises:
        RowError: their roles are out of order, or they do not end with what is answered.
    """
    check_request(messages, name, where)
    return [Asked(1, tuple(messages))]


def asked_in(messages: Sequence[Message], answers: str, name: str, where: str) -> list[Asked]:
    """The requests of a log without its prompt.

    `ask`: one for each of its answers, and one at its end if nobody has answered there. `last`:
    that of its last answer, or its end if it has none. `keep`: one, with the conversation from
    the first answer to the last. An assistant's turn that follows nobody's (a greeting) is no
    answer.

    Args:
        messages: the log.
        answers: `ask`, `last` or `keep`.
        name: of the field, for messages.
        where: the log, for messages.

    Raises:
        RowError: its roles are out of order, nobody asks anything in it, or there is nothing to
            keep.
    """
    if not messages:
        raise RowError(f"{where}: it holds the prompt alone.", "take the log out.")
    asking = [place for place, one in enumerate(messages) if one["role"] in ASKING]
    if not asking:
        raise RowError(f"{where}: nobody asks anything in `{name}`.", "take the log out.")
    # Every shorter request is in order where the longest is.
    check_request(messages[: asking[-1] + 1], name, where)
    answered = [
        place
        for place, one in enumerate(messages)
        if one["role"] == "assistant" and messages[place - 1]["role"] in ASKING and place
    ]
    if answers == KEEP:
        if not answered:
            raise RowError(
                f"{where}: there is no answer to keep in `{name}`.",
                "take the log out, or let the target answer: --answers ask.",
            )
        end = max(place for place, one in enumerate(messages) if one["role"] == "assistant") + 1
        kept = tuple(messages[answered[0] : end])
        check_conversation(kept, name, where)
        return [Asked(1, tuple(messages[: answered[0]]), kept, True)]
    if messages[-1]["role"] == "assistant" and len(messages) - 1 not in answered:
        check_conversation(messages[answered[0] if answered else -1 :], name, where)
    ends = [*answered, len(messages)] if messages[-1]["role"] in ASKING else answered
    found = [
        Asked(turn, tuple(messages[:end]), goes_on=bool(answered))
        for turn, end in enumerate(ends, start=1)
    ]
    if answers == LAST:
        return [found[len(answered) - 1 if answered else -1]]
    return found
