"""What a model thinks aloud before it answers, taken apart from the answer.

Models that think write their thoughts into the answer itself wherever nobody takes them out: in
process, and behind servers without a parser for them. They belong to no field of a row. What the
application itself writes in the same form (a prompt that asks for `<thinking>`) is no thought.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from synth.engines.base import Answer
from synth.quality.filters import instruction_and_examples
from synth.task.taskfile import Task

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


def thoughts_apart(answer: Answer, own: Sequence[str] = ()) -> Answer:
    """The answer with the thoughts at its beginning in `reasoning` and not in `text`.

    Thoughts that never end, because the token limit cut them for one, leave no text. An empty
    block, which models write that do not think this time, is no thought.

    Args:
        answer: as the engine gave it.
        own: texts of the application's; a mark that stands in one of them marks no thought.
    """
    left = answer.text
    thoughts: list[str] = []
    while (parted := _parted(left, own, first=not thoughts)) is not None:
        thought, left = parted
        thoughts.append(thought.strip())
    if left == answer.text:
        return answer
    known = [one for one in (answer.reasoning, *thoughts) if one]
    reasoning = "\n".join(known) if known else answer.reasoning
    return replace(answer, text=_bare(left, own), reasoning=reasoning, written=answer.text)


def own_texts(task: Task, role: str) -> tuple[str, ...]:
    """The texts whose marks are the application's own, in answers of the target or the generator.

    The prompt's instruction is the target's alone: what it says of thoughts is no licence for the
    generator, which writes inputs, reasons and the environment's turns.
    """
    inputs = task.config.inputs
    instruction, examples = instruction_and_examples(task.prompt)
    own = (*examples, *inputs.seeds, inputs.wrap or "")
    if role == "generator":
        return own
    agent = [turn.content for turn in task.prompt if turn.role == "assistant"]
    return (*own, *instruction, *agent)


def thought_notes(task: Task) -> list[str]:
    """What to say of marks of thoughts in the prompt, a sentence each."""
    own = own_texts(task, "target")
    begins = [form.begins.search(text) for form in FORMS for text in own]
    marks = dict.fromkeys(match[0] for match in begins if match is not None)
    return [
        f"The prompt or a seed holds {mark}: an answer of the target that begins with it is kept "
        "as it is, as the application's own form."
        for mark in marks
    ]


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
