"""The text of the prompt-generation half: the question and the adapter's answer.

The half shows an input with the answer given without the prompt and the answer given with it,
and asks for the prompt and for the reason why it changes the answer (GenPI, arXiv 2411.15927,
section 3.2). The evaluation asks the same question to have the prompt recited.

Of a long prompt one piece is asked for (`prompt_pieces`). The first is asked for as a whole prompt
is, reason and all: there is nothing before it, and the request and its answers say which prompt is
meant. The others are asked for by their number and the words before them, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from genpi_plugin.data.tools import Tool, tools_text

# What is wanted stands last, where it is the same in every recital: behind an answer that differs
# from row to row, a model went on with what follows such an answer in the prompt's examples.
QUESTION = """\
The same request was answered twice: once with nothing before it, and once with a prompt in front \
of it. The prompt is not shown here.

## Request
{input}

## Answer without the prompt
{floor_output}

## Answer with the prompt
{teacher_output}

## What is wanted
Write down {wanted} word for word, and then the reason why {prompt} changes the answer."""

FURTHER_QUESTION = """\
You follow a prompt that is not shown here. Write down {wanted} word for word.

## The part before it ends with
{before}"""

# About a line.
BEFORE_CHARACTERS = 80
PROMPT_HEADING = "## Prompt\n"
TOOLS_HEADING = "\n\n## Tools\n"
REASON_HEADING = "\n\n## Reason\n"
# Behind a piece that no reason follows: white space at the end of an answer is easily lost.
PIECE_END = "\n\n## End of the part"


@dataclass(frozen=True)
class Piece:
    """Which piece of a prompt is asked for.

    Attributes:
        number: from 1.
        of: how many there are.
        before: the last words before it (`last_words`); "" for the first piece.
    """

    number: int
    of: int
    before: str


@dataclass(frozen=True)
class Recited:
    """What one recital writes: a piece of the prompt, or all of it where `piece` is None."""

    text: str
    piece: Piece | None = None

    @property
    def has_reason(self) -> bool:
        """Whether the reason is told behind it: behind a whole prompt, or the first piece."""
        return self.piece is None or self.piece.number == 1


def question(input: str, floor_output: str, teacher_output: str, piece: Piece | None = None) -> str:
    """The user turn of the prompt-generation half.

    Args:
        piece: what is asked for; None for the whole prompt.
    """
    wanted = f"part {piece.number} of {piece.of} of the prompt" if piece else "the prompt"
    if piece and piece.number > 1:
        return FURTHER_QUESTION.format(wanted=wanted, before=piece.before)
    # One pass, so that braces or field names inside the texts stay as they are.
    return QUESTION.format(
        wanted=wanted,
        prompt="the prompt" if piece else "it",
        input=input,
        floor_output=floor_output,
        teacher_output=teacher_output,
    )


def last_words(text: str) -> str:
    """The words that name what comes after a text: the last BEFORE_CHARACTERS, whole words only
    where there are any."""
    text = text.strip()
    if len(text) <= BEFORE_CHARACTERS:
        return text
    tail = text[-BEFORE_CHARACTERS - 1 :]
    begins = re.search(r"(?<=\s)\S", tail)
    return tail[begins.start() :] if begins else tail[1:]


def answer(recited: Recited, reason: str) -> str:
    """The assistant turn of the prompt-generation half: what is recited, and all of the reason.

    Args:
        reason: not looked at where none is told.
    """
    told = f"{REASON_HEADING}{reason}" if recited.has_reason else PIECE_END
    return f"{PROMPT_HEADING}{recited.text}{told}"


def recited_text(prompt: str, tools: Sequence[Tool] = ()) -> str:
    """What is recited of a prompt: its text, and its tools as a line of JSON each."""
    return f"{prompt}{TOOLS_HEADING}{tools_text(tools)}" if tools else prompt


def parse_answer(text: str) -> tuple[str, str]:
    """Split a recital into prompt (its tools with it), or piece of it, and reason; the reason is
    empty where none was written."""
    body = text.removeprefix(PROMPT_HEADING)
    prompt, heading, reason = body.rpartition(REASON_HEADING)
    return (prompt, reason) if heading else (body.removesuffix(PIECE_END), "")
