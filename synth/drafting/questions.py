"""What a model is asked of an application, one small thing at a time, and what is taken of it.

A weak model answers beside the point, repeats the prompt, or talks of itself. Whatever does is
left out: a draft that says less is better than one that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from genpi_plugin.data.text import control_fault
from synth.engines.base import Message, Request, Sampling
from synth.quality.dedup import KnownTexts
from synth.quality.refusals import refuses
from synth.quality.role_markers import holds_marker, role_marker
from synth.store.fingerprint import derived_seed
from synth.task.taskfile import Task
from synth.task.templates import instructed, prompt_text
from synth.text import word_runs, words

SYSTEM = """\
Below, between two lines of dashes, are the instructions that an AI application works under.

----------
{prompt}
----------

You describe this application to a colleague. Answer each question in plain words, as briefly as \
you can, with the answer alone. Never answer as the application."""

TEMPERATURE = 0.7
TOP_P = 0.9
ALIKE = 0.5  # similarity from which on two lines of a list are the same
COPIED = 12  # words in a row out of the prompt
MOST_CHARS = 160
BULLET = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.):])\s*")
# The application, and not who writes to it or why.
ITSELF = re.compile(
    r"\b(?:ai|assistants?|agents?|language models?|chat ?bots?|bots?|applications?|prompts?"
    r"|instructions?)\b",
    re.IGNORECASE,
)
# Of the questions' own examples and words: who says so has read the question alone.
ECHOED = frozenset({"hotel", "chess", "colleague", "sentence", "question", "questions"})
AROUND = " \t\"'`*_\u201c\u201d"


@dataclass(frozen=True)
class Question:
    """A question on the application.

    Attributes:
        key: of task.yml, with dots.
        text: what is asked.
        many: lines that are asked for; 1 is a single answer.
        least: lines that are worth having.
        prefix: how an answer may begin that repeats the question.
        words: least and most of an answer.
    """

    key: str
    text: str
    many: int = 1
    least: int = 1
    prefix: str = ""
    words: tuple[int, int] = (2, 20)


QUESTIONS = (
    Question(
        "conversations.environment",
        "Who or what sends this application its messages? Write a few words: for a hotel's help "
        "desk they would be `a guest of the hotel`, for a program that plays chess `the other "
        "player`.",
        prefix=r"(?:it is|it's|they are|the messages? (?:are|is) sent by|messages come from)\s+",
    ),
    Question(
        "conversations.end_condition",
        "When is a conversation with this application over? Go on with the sentence in a few "
        "words: The conversation is over when ...",
        prefix=r"(?:(?:the|a) conversation (?:is over|ends|with \w+ \w+ is over)|it is over)"
        r"\s*(?:when)?[\s.:]*|when\s+",
        words=(3, 25),
    ),
    Question(
        "inputs.vary.persona",
        "Name 8 kinds of people who would use this application, as different from each other as "
        "can be. Write each on a line of its own, in a few words.",
        many=8,
        least=4,
        words=(1, 15),
    ),
    Question(
        "inputs.vary.topic",
        "Name 10 different things that people would come to this application with. Write each on "
        "a line of its own, in a few words.",
        many=10,
        least=4,
        words=(1, 15),
    ),
)


def question_request(task: Task, question: Question, seed: int, number: int) -> Request:
    """Ask a question the `number`-th time, greedily at first."""
    system = SYSTEM.format(prompt=prompt_text(task.prompt) + _tool_lines(task.tools))
    messages = instructed(task.config.prompt_role, system, [Message("user", question.text)])
    temperature = TEMPERATURE if number or question.many > 1 else 0.0
    limit = 32 * question.many if question.many > 1 else 64
    how = Sampling(temperature, TOP_P, limit, task.config.inputs.request_args,
                   task.config.inputs.chat_template_kwargs)  # fmt: skip
    return Request(messages, how, derived_seed(seed, f"{question.key}-{number}"))


def taken(
    text: str, question: Question, task: Task, cut: bool, known: Sequence[str] = ()
) -> tuple[list[str], str]:
    """What is good of an answer, and what was the matter with the rest ("" with nothing).

    Args:
        text: the answer.
        question: what was asked.
        task: whose prompt is not to be repeated.
        cut: the token limit cut the answer: its last line is not whole.
        known: what is there already.
    """
    if refuses(text):
        return [], "refuses"
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if cut and question.many > 1:
        lines = lines[:-1]
    if question.many == 1 and (cut or len(lines) > 1):
        return [], "goes on and on" if cut else "more than one line"
    seen = KnownTexts(ALIKE)
    for one in known:
        seen.add(one, one)
    good, fault = [], "" if lines else "empty"
    for line in lines:
        short = line.rstrip(AROUND).endswith(("...", "\u2026"))
        line = _bare(line, question)
        why = "stops short" if short else fault_of(line, question, task)
        if why or seen.add(line, line) is not None:
            fault = why or "the same again"
            continue
        good.append(line)
    return good[: question.many - len(known)], fault


def fault_of(text: str, question: Question, task: Task) -> str:
    """Why a phrase is no answer to a question; "" if it may be one."""
    least, most = question.words
    count = len(words(text))
    if count < least or count > most or len(text) > MOST_CHARS:
        return f"{count} words, of {least} to {most}"
    if control_fault(text):
        return "holds control characters"
    if marker := role_marker(text, task, made=True):
        return holds_marker(marker)
    if question.key != "conversations.end_condition" and ITSELF.search(text):
        return "speaks of the application itself"
    known = {word for turn in task.prompt for word in words(turn.content)}
    if (ECHOED - known).intersection(words(text)):
        return "repeats the question"
    if text.endswith(("?", ":")) or re.search(r"\b(?:I|I'm|you|your)\b", text):
        return "is no description"
    prompt = {run for turn in task.prompt for run in word_runs(turn.content, COPIED)}
    if prompt.intersection(word_runs(text, COPIED)):
        return "repeats the prompt"
    return ""


def _bare(line: str, question: Question) -> str:
    """A line without its bullet, its quotation marks, and what it repeats of the question."""
    text = BULLET.sub("", line).strip(AROUND).rstrip(".").strip(AROUND)
    if question.prefix:
        text = re.sub(question.prefix, "", text, count=1, flags=re.IGNORECASE)
    elif question.many > 1:
        text = re.sub(r"\*+", "", text).strip()
    return text.strip(AROUND)


def _tool_lines(tools: str) -> str:
    """The tools, a line each: parameters say nothing of who uses the application."""
    if not tools:
        return ""
    functions = [tool.get("function", tool) for tool in json.loads(tools)]
    lines = [f"- {one['name']}: {one.get('description', '')}".rstrip(": ") for one in functions]
    return "\n\nIt can call these tools:\n" + "\n".join(lines)
