"""What a model thinks aloud before it answers, taken apart from the answer.

Models that think write their thoughts into the answer itself wherever nobody takes them out: in
process, and behind servers without a parser for them. What the application itself writes in the
same form (a prompt that asks for `<thinking>`) is no thought.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

TAG = r"(?:[a-z]{1,12}[:_])?(?:think(?:ing)?|thoughts?|reasoning)"
THINK = r"(?:[a-z]{1,12}[:_])?think(?:ing)?"


@dataclass(frozen=True)
class Form:
    """How some models mark their thoughts.

    `alone`: the end may stand without a beginning, which the chat template has put into the
    request; not in quotes, where it is talked of.
    """

    begins: re.Pattern[str]
    ends: re.Pattern[str]
    alone: bool = False


def _form(begins: str, ends: str, alone: bool = False) -> Form:
    return Form(re.compile(begins, re.IGNORECASE), re.compile(ends, re.IGNORECASE), alone)


FORMS = (
    _form(rf"<{THINK}>", rf"</{THINK}>", alone=True),  # Qwen, DeepSeek, GLM, Nemotron, Seed
    _form(rf"<{TAG}>", rf"</{TAG}>"),
    _form(r"\[THINK\]", r"\[/THINK\]", alone=True),  # Mistral
    _form(r"\u25c1think\u25b7", r"\u25c1/think\u25b7", alone=True),  # Kimi
    _form(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>", alone=True),  # Cohere
    _form(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    _form(r"<\|channel>thought\b", r"<channel\|>"),  # Gemma 4
    _form(r"<unused94>thought\b", r"<unused95>"),  # MedGemma
    _form(r"(?:<\|start\|>assistant)?<\|channel\|>analysis<\|message\|>", r"<\|end\|>"),  # gpt-oss
    # gpt-oss, where the server takes the marks out and leaves their words
    _form(r"(?=analysis[\s\S]*?assistantfinal)", r"assistantfinal"),
    _form(r"Here(?: is|'s) my thought process:", r"Here(?: is|'s) my response:"),  # Granite
)
# What such models put around the answer behind the thoughts.
AROUND = (
    (r"(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>", r"(?:<\|return\|>|<\|end\|>)"),
    (r"<\|START_RESPONSE\|>", r"<\|END_RESPONSE\|>"),
    (r"<\|begin_of_solution\|>", r"<\|end_of_solution\|>"),
    (r"<answer>", r"</answer>"),  # Hunyuan
    (r"<response>", r"</response>"),  # Granite, ERNIE
)
QUOTES = ("`", "'", '"', "\u201c", "\u2018")
# Marks of thoughts that no answer holds in its midst.
MARK = re.compile(
    r"</?think>|\[/?THINK\]|\u25c1/?think\u25b7|<\|(?:START|END)_THINKING\|>", re.IGNORECASE
)
# How a chat template begins a thought at the end of a request.
BEGUN = re.compile(
    r"(?:<(?:[a-z]{1,12}[:_])?think(?:ing)?>|\[THINK\]|\u25c1think\u25b7|<\|START_THINKING\|>)\s*\Z",
    re.IGNORECASE,
)
# Tokens at a request's end that may hold such a mark.
MARK_TOKENS = 16


def thoughts_apart(text: str, own: Sequence[str] = ()) -> tuple[str, str | None]:
    """What an answer says, and the thoughts at its beginning.

    Thoughts that never end, because the token limit cut them for one, leave nothing said.

    Args:
        text: the whole answer.
        own: texts of the application's; a mark that stands in one of them marks no thought.

    Returns:
        The thoughts are None where none are marked (what is said is then the text as it is), and
        "" where they are marked and empty, as models write them that do not think this time.
    """
    left, found = text, list[str]()
    while (parted := _parted(left, own, first=not found)) is not None:
        thought, left = parted
        found.append(thought.strip())
    if not found:
        return text, None
    return _bare(left, own), "\n".join(filter(None, found))


def marks_in(texts: Sequence[str]) -> list[str]:
    """The marks with which thoughts begin somewhere in these texts, each once."""
    found = [form.begins.search(text) for form in FORMS for text in texts]
    return list(dict.fromkeys(match[0] for match in found if match is not None and match[0]))


def begun(request: str) -> str:
    """The mark with which a request ends whose template has begun a thought; "" for any other.

    Args:
        request: its rendered text, or the end of it.
    """
    match = BEGUN.search(request)
    return match[0] if match else ""


def _parted(text: str, own: Sequence[str], first: bool) -> tuple[str, str] | None:
    """The thought at the beginning of a text, and what comes behind; None where there is none."""
    start = len(text) - len(text.lstrip())
    for form in FORMS:
        begin = form.begins.match(text, start)
        if begin is not None:
            if _is_own(begin[0], own):
                return None
            end = form.ends.search(text, begin.end())
            if end is None:
                return text[begin.end() :], ""
            return text[begin.end() : end.start()], text[end.end() :].lstrip()
    if not first:
        return None
    for form in FORMS:
        end = form.ends.search(text) if form.alone else None
        if end is None or form.begins.search(text, 0, end.start()) or _is_own(end[0], own):
            continue
        if text[: end.start()].endswith(QUOTES):
            continue
        return text[: end.start()], text[end.end() :].lstrip()
    return None


def _bare(text: str, own: Sequence[str]) -> str:
    """The answer behind thoughts, without what the model put around it."""
    for before, behind in AROUND:
        match = re.match(rf"\s*{before}(.*?)(?:{behind}\s*)?\Z", text, re.DOTALL)
        if match is not None and not any(re.search(before, each) for each in own):
            return match[1].strip()
    return text


def _is_own(mark: str, own: Sequence[str]) -> bool:
    return bool(mark) and any(mark in each for each in own)
