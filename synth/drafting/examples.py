"""The worked examples in a prompt: what users send first, how it goes on, what the agent answers.

By rule, from turns (few-shot prompts), from labelled lines ("User: ...") and from quotations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from genpi_plugin.data.text import folded
from synth.engines.base import Answer, Message
from synth.errors import TaskError
from synth.quality.filters import input_fault, instruction_and_examples
from synth.task.placeholders import placeholders
from synth.task.sections import Inputs
from synth.task.templates import compile_wrap
from synth.text import word_runs, words

RUN = 6  # words in a row that a turn has of an earlier one when it goes on with it
SHORT = 5  # words that an answer to the instruction itself has at most ("Ok.")
LONG_QUOTE = 300  # characters
LABEL = re.compile(r"^\W{0,4}([A-Za-z][\w ]{0,30}?)\W{0,3}:", re.MULTILINE)
USERS = re.compile(
    r"^\W{0,4}(?:user|customer|client|human|input|question|query|request|message|q)(?: \d+)?"
    r"\W{0,3}:\W{0,3}\s+(?P<text>\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
AGENTS = re.compile(
    r"^\W{0,4}(?:agent|assistant|answer|output|response|reply|bot|ai|a)(?: \d+)?"
    r"\W{0,3}:\W{0,3}\s+(?P<text>\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
# What a user says, and not what is to be said to one.
QUOTED = re.compile(
    r"(?:^|(?<=[.!?:;]\s))(?!(?:tell|reply|answer|say|ask|never|do not|don't)\b)"
    r"[^.!?\n\"\u201c]{0,60}\b(?:users?|customers?|people|somebody|someone|they)\b"
    r"(?![^\n\"\u201c]{0,60}(?:\b(?:tell|reply|answer|say)\b|,))[^.!?\n\"\u201c]{0,60}"
    r"(?:\"(?P<plain>[^\"\n]+)\"|\u201c(?P<curly>[^\u201d\n]+)\u201d)",
    re.IGNORECASE | re.MULTILINE,
)
# What stands between the parts of a page: brackets, quotation marks, bars, a label's colon, lines.
FORM = re.compile(r"\[[^\]\n]*\]|[\"{}|<>\n]|(?<=\w):\s")
LEAST_FORM = 20  # characters around a user's words that make it a form
MOST_FORM = 3  # times as many as the words have
STAND_IN = re.compile(r"\.\.\.|\u2026|<[^<>]+>|\[[^\[\]]+\]|\{[^{}]+\}")


@dataclass(frozen=True)
class Examples:
    """What a prompt shows.

    Attributes:
        inputs: what begins a conversation.
        later: the environment's turns that go on with one.
        answers: the agent's, in their order.
    """

    inputs: tuple[str, ...]
    later: tuple[str, ...]
    answers: tuple[str, ...]


def examples_in(prompt: Sequence[Message]) -> Examples:
    """Find the worked examples in a prompt.

    A turn of the user's goes on with an example, and begins none, when it repeats words of an
    earlier turn, when its lines have other labels than the first example's, or when the agent's
    turn before it asks. Where it can't be told it is left out of the inputs: one seed less is
    better than one that no user sends first.
    """
    instruction, _ = instruction_and_examples(prompt)
    turns = [turn for turn in prompt if turn.role != "system"]
    inputs, later, answers = [], [], []
    first = "" if prompt[0].role == "system" else prompt[0].content
    if first:
        turns = turns[1:]
        if turns and len(words(turns[0].content)) > SHORT:  # it answers what stands in there
            inputs += _led_in(first)
        elif turns:
            turns = turns[1:]
    before: list[Message] = [Message("user", text) for text in inputs]
    users = [turn for turn in turns if turn.role == "user"]
    # What stands at the end ("My problem is:") comes before every input by itself.
    lead = turns.pop().content if users and turns[-1] is users[-1] else ""
    for turn in turns:
        if turn.role == "assistant":
            answers += [turn.content] if turn.content else []
        elif turn.role == "tool" or _goes_on(turn.content, before, inputs):
            later.append(turn.content)
        else:
            head, _, rest = turn.content.partition("\n\n")
            inputs.append(rest.strip() if rest and lead.endswith(head) else turn.content)
        before.append(turn)
    if not inputs and not answers:
        text = "\n".join(instruction)
        inputs += [match["text"].strip() for match in USERS.finditer(text)]
        answers += [match["text"].strip() for match in AGENTS.finditer(text)] if inputs else []
        inputs += [(m["plain"] or m["curly"]).strip() for m in QUOTED.finditer(text)]
        inputs = [_bare(text) for text in inputs if _is_a_request(text)]
    return Examples(_usable(inputs), tuple(later), tuple(answers))


def wrapped(text: str, later: Sequence[str]) -> tuple[str, str] | None:
    """A user's own words in an input, and the template of the form around them (`inputs.wrap`).

    Where an application shows a request again and again (a page's head), they are what the later
    turns of an example have in common with its first: the one piece of it, on one line and without
    a mark of the form, that all of them repeat.

    Returns:
        None where it is not one piece, hardly anything is around it, or so much that it can't be
        the same in every input.
    """
    pieces = [piece.strip(" \t,;.") for piece in re.split(FORM, text)]
    said = [piece for piece in pieces if len(words(piece)) >= RUN and text.count(piece) == 1
            and later and all(piece in turn for turn in later)]  # fmt: skip
    if len(said) != 1:
        return None
    [best] = said
    if not LEAST_FORM <= len(text) - len(best) <= MOST_FORM * len(best):
        return None
    template = text.replace(best, "{{ text }}")
    try:
        same = compile_wrap(template)(best) == text
    except TaskError:  # the form holds what Jinja takes for its own
        return None
    return (best, template) if same else None


def _led_in(text: str) -> list[str]:
    """The last paragraph of an instruction, behind a line that leads in ("My problem is:")."""
    head, _, last = text.strip().rpartition("\n\n")
    return [last.strip()] if head.rstrip().endswith(":") else []


def _goes_on(text: str, before: Sequence[Message], inputs: Sequence[str]) -> bool:
    if not before or not inputs:
        return False
    if before[-1].role == "assistant" and before[-1].content.rstrip().endswith("?"):
        return True
    if _labels(text) != _labels(inputs[0]):
        return True
    known = {run for turn in before for run in word_runs(turn.content, RUN)}
    return any(run in known for run in word_runs(text, RUN))


def _labels(text: str) -> list[str]:
    return [match[1].casefold() for match in LABEL.finditer(text)]


def _is_a_request(text: str) -> bool:
    return len(words(text)) >= 3 and len(text) <= LONG_QUOTE and not STAND_IN.search(text)


def _bare(text: str) -> str:
    text = text.strip()
    return text[1:-1] if text[:1] == text[-1:] == '"' else text


def _usable(texts: Sequence[str]) -> tuple[str, ...]:
    """Those that are well-formed inputs, each once."""
    once = {folded(text): text for text in reversed(texts)}
    known = [text for text in texts if once.get(folded(text)) is text]
    whole = [text for text in known if not _has_places(text)]
    return tuple(text for text in whole if input_fault(Answer(text, "stop"), Inputs()) is None)


def _has_places(text: str) -> bool:
    """Whether an application would fill in a value, which stands in no user's words; `$NAME` may be
    a shell's."""
    return any(not place.startswith("$") for place in placeholders([text]))
