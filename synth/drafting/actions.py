"""A pattern of the agent's actions, and of its last one, from example answers: by rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from synth.quality.actions import actions
from synth.text import words

BRACKETS = re.compile(r"\b([A-Za-z_]\w*)\[[^\]\n]+\]")
CALL = re.compile(r"[A-Za-z_]\w*\([^\n]*\)")
LINE_LABEL = re.compile(r"^([A-Za-z][\w ]{0,30}):", re.MULTILINE)
TAG = re.compile(r"<([A-Za-z_][\w-]*)>[\s\S]*?</\1>")
# What an answer says before it acts.
THOUGHTS = {"thought", "think", "thinking", "reasoning", "reason", "analysis", "observation"}
NAME = re.compile(r"[A-Za-z_]\w*")
PROSE = (
    "I am sorry to hear that. Could you tell me the number of your order (it is on the receipt)? "
    "Note: it has ten digits."
)
FEW_WORDS = 4
# What an action that ends a conversation says; others are in the middle of an example that stops.
ENDS = re.compile(
    r"answer|buy|check ?out|close|complete|confirm|done|end|exit|final|finish|order|pay|quit|reply"
    r"|respond|result|return|solved|stop|submit|terminate",
    re.IGNORECASE,
)


def action_pattern_of(
    answers: Sequence[str], instruction: str, inputs: Sequence[str] = ()
) -> str | None:
    """A regular expression whose group `action` is found in each of some answers.

    Args:
        answers: an agent's, at least one.
        instruction: the prompt's text, which names other actions of the same form.
        inputs: what users send, in which no action is found.

    Returns:
        None where no form is common to all.
    """
    for form in FORMS:
        pattern = form(answers, instruction) if answers else None
        if pattern is None:
            continue
        if all(re.search(pattern, answer) for answer in answers) and not any(
            re.search(pattern, text) for text in (PROSE, *inputs)
        ):
            return pattern
    return None


def end_pattern_of(answers: Sequence[str], pattern: str) -> str | None:
    """What the last of an example's answers does and none before it: a name of its own
    (`answer(...)`), or else a fixed action (`click[Buy Now]`). None where it is neither, or does
    not say that it ends anything.

    Args:
        answers: the agent's in one conversation, two or more.
        pattern: of its actions.
    """
    if len(answers) < 2 or len(found := actions(answers[-1], pattern)) != 1:
        return None
    [last] = found
    earlier = [one for answer in answers[:-1] for one in actions(answer, pattern)]
    match = re.search(pattern, answers[-1])
    name = NAME.match(last)
    if match is None or name is None or last in earlier or not ENDS.search(last):
        return None
    before = answers[-1][match.start() : match.start("action")]
    names = {first[0] for one in earlier if (first := NAME.match(one))}
    if name[0] not in names:
        return _spaced(before) + re.escape(name[0]) + r"\b"
    fixed = len(words(last)) <= FEW_WORDS and not re.search(r"\d", last)
    return _spaced(before) + _spaced(last) if fixed else None


def _tag(answers: Sequence[str], instruction: str) -> str | None:
    common = _common([[match[1] for match in TAG.finditer(answer)] for answer in answers], THOUGHTS)
    return rf"<{common}>(?P<action>[\s\S]*?)</{common}>" if common else None


def _brackets(answers: Sequence[str], instruction: str) -> str | None:
    """`search[words]`, with the label before it where all have the same."""
    if not all(BRACKETS.search(text) for text in answers):
        return None
    names = sorted(
        {match[1] for text in (*answers, instruction) for match in BRACKETS.finditer(text)}
    )
    before = [text[: [*BRACKETS.finditer(text)][-1].start()] for text in answers]
    found = [re.findall(r"^([A-Za-z][\w ]*):\s*\Z", text, re.MULTILINE) for text in before]
    label = found[0][0] if found[0] and all(one == found[0] for one in found) else ""
    action = rf"(?P<action>(?:{'|'.join(names)})\[[^\]\n]+\])"
    return rf"{re.escape(label)}:\s*{action}" if label else action


def _json(answers: Sequence[str], instruction: str) -> str | None:
    try:
        whole = [json.loads(answer) for answer in answers]
    except ValueError:
        return None
    objects = all(isinstance(value, dict) for value in whole)
    return r"(?P<action>\{[\s\S]*\})" if objects else None


def _label(answers: Sequence[str], instruction: str) -> str | None:
    """What stands behind the last label that all have ("Act: ..."), if the prompt names it."""
    common = _common([LINE_LABEL.findall(answer) for answer in answers], THOUGHTS)
    if not common or f"{common}:" not in instruction:
        return None
    fence = r"(?:\s*```[\s\S]*?```)?" if any("```" in answer for answer in answers) else ""
    return rf"(?m)^{re.escape(common)}:\s*(?P<action>\S.*{fence})"


def _call(answers: Sequence[str], instruction: str) -> str | None:
    calls = all(CALL.fullmatch(answer.strip().splitlines()[-1].strip()) for answer in answers)
    return r"(?m)^(?P<action>[A-Za-z_]\w*\([^\n]*\))\s*$" if calls else None


def _few_words(answers: Sequence[str], instruction: str) -> str | None:
    """One of a few answers that the prompt names ("positive"): the whole of it."""
    named = words(instruction)
    if any(word not in named for answer in answers for word in words(answer)):
        return None
    short = all(0 < len(words(one)) <= FEW_WORDS and "\n" not in one.strip() for one in answers)
    return r"\A\s*(?P<action>[^\n]{1,60}?)\s*\Z" if short and len(answers) > 1 else None


FORMS: tuple[Callable[[Sequence[str], str], str | None], ...] = (
    _tag, _brackets, _json, _label, _call, _few_words,
)  # fmt: skip


def _common(found: Sequence[Sequence[str]], without: set[str]) -> str:
    """The last name that all lists have; "" where there is none."""
    names = [name for name in found[-1] if all(name in other for other in found)]
    named = [name for name in names if name.casefold() not in without]
    return named[-1] if named else ""


def _spaced(text: str) -> str:
    """A pattern of a text, whatever the white space in it."""
    begins = r"\s*" if text[:1].isspace() else ""
    ends = r"\s*" if text[-1:].isspace() else ""
    return begins + r"\s+".join(re.escape(part) for part in re.split(r"\s+", text.strip())) + ends
