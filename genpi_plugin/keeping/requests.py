"""The requests to keep: shipped, the user's, or the model's own; as tokens of two readers.

Worked example (`keep: teacher`, capitals: what is sampled later):

    student    q q q            then A A A .
    reference  p p p p q q q    then A A A .     (`keep: floor`: as the student)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.data.messages import Message
from genpi_plugin.errors import GenPIError, SequenceLengthError, TemplateError
from genpi_plugin.keeping.prompt import KeepPrompt

# Everyday requests in our own wording; none of them is one that the evaluation measures drift on.
SHIPPED = Path(__file__).with_name("requests.txt")
# The value of `keep_inputs` for requests that the model writes itself.
OWN = "self"
NAMED = 5
SHOWN = 40


@dataclass(frozen=True)
class Asked:
    """A request's messages, and where it stands, in a user's words."""

    name: str
    messages: list[Message]


@dataclass(frozen=True)
class KeepRequest:
    """A request as the student and as its reference read it: token ids up to the answer."""

    name: str
    student: list[int]
    reference: list[int]


def read_requests(source: str | None) -> tuple[list[Asked], tuple[str, ...]]:
    """The requests of `genpi.keep_inputs`, and notes on what of its file was not used.

    Args:
        source: a file or folder; None for the shipped ones.

    Raises:
        GenPIError: it can't be read, or has no inputs.
    """
    given = read_inputs(SHIPPED if source is None else Path(source))
    name = "the shipped requests" if source is None else source
    asked = [
        Asked(f"{name}, {given.unit} {one.number} ({one.text[:SHOWN]!r})", one.messages)
        for one in given.inputs
    ]
    return asked, given.notes


def rendered(
    asked: Sequence[Asked], view: ChatView, prompt: KeepPrompt | None
) -> list[KeepRequest]:
    """Requests as token ids.

    Args:
        prompt: what the reference reads before them; None where it reads what the student reads.

    Raises:
        TemplateError: a request that the template can't render; names it.
    """
    found = []
    for number, one in enumerate(asked):
        try:
            if prompt is None:
                ids = view.request_ids(one.messages)
                found.append(KeepRequest(one.name, ids, ids))
                continue
            student = view.request_ids(prompt.student_request(number, one.messages))
            before = prompt.teacher_request(number, one.messages)
            reference = view.request_ids(before, prompt.tools)
        except TemplateError as error:
            raise type(error)(f"{one.name}: {error.cause}", error.cure, error.text) from error
        found.append(KeepRequest(one.name, student, reference))
    return found


def check_lengths(
    requests: Sequence[KeepRequest], keep_tokens: int, sequence_len: int, context: int | None
) -> None:
    """Each request must leave room for its answer.

    Args:
        keep_tokens: of an answer at most.
        context: tokens that the model reads; None for any number.

    Raises:
        SequenceLengthError: names the requests.
    """
    long = [one for one in requests if len(one.student) + keep_tokens > sequence_len]
    if long:
        longest = max(len(one.student) for one in long)
        raise SequenceLengthError(
            f"{len(long)} of {len(requests)} requests to keep (`genpi.keep_inputs`) do not fit "
            f"`sequence_len: {sequence_len}` with an answer of `keep_tokens: {keep_tokens}`: "
            f"{_named(long)}. The longest has {longest} tokens.",
            f"take them out, set `sequence_len: {longest + keep_tokens}`, fewer `keep_tokens`, or "
            "`keep_weight: 0`.",
        )
    if not context:
        return
    long = [one for one in requests if len(one.reference) + keep_tokens > context]
    if long:
        longest = max(len(one.reference) for one in long)
        raise GenPIError(
            f"{len(long)} of {len(requests)} requests to keep have more tokens, with the prompt "
            f"and an answer of `keep_tokens: {keep_tokens}`, than the {context} that the model "
            f"reads (max_position_embeddings): {_named(long)}. The longest has {longest} before "
            "its answer.",
            "take them out, set fewer `keep_tokens`, or `keep: floor`, which reads no prompt.",
        )


def _named(requests: Sequence[KeepRequest]) -> str:
    more = f" and {len(requests) - NAMED} more" if len(requests) > NAMED else ""
    return f"{'; '.join(one.name for one in requests[:NAMED])}{more}"
