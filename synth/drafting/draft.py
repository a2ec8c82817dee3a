"""What task.yml says of an application, drafted from its prompt: by rule, or by asking a model."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from synth.drafting.actions import action_pattern_of, end_pattern_of
from synth.drafting.examples import examples_in, wrapped
from synth.drafting.fill import Drafted
from synth.drafting.questions import QUESTIONS, Question, question_request, taken
from synth.engines.base import Message, Request
from synth.errors import RequestError, RowError, TooFewInputs
from synth.quality.filters import some_answer
from synth.quality.thoughts import unthinking
from synth.running.models import Models
from synth.stages.inputs import inputs
from synth.store.fingerprint import derived_seed
from synth.store.rows import Rejection
from synth.store.store import Generate
from synth.task.taskfile import Task
from synth.task.templates import prompt_text, teacher_messages

SEEDS = 6  # that a draft should have, the prompt's own among them
SEED_TRIES = 6  # for each that is missing
ASKED = 3  # times that a question is asked at most
ANSWERED = 3  # seeds to which the target's answers are looked at for the form of its actions
SEED_TOKENS = 256
# Characters of a token, at least, where a seed's length bounds the tokens of the next.
CHARS = 2
LENGTHS = 3  # times shorter or longer than the prompt's examples a seed may be
FROM_PROMPT = "from the prompt's own examples"
log = logging.getLogger("synth")


@dataclass
class Draft:
    """What was drafted, and for what is missing why.

    Attributes:
        values: by key of task.yml.
        missing: key -> why there is nothing.
    """

    values: list[Drafted] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, value: Any, source: str) -> None:
        """Take a value in."""
        self.values.append(Drafted(key, ((source, value),)))


def most_requests(task: Task) -> int:
    """How many requests a draft takes at most."""
    examples = examples_in(task.prompt)
    answered = 0 if examples.answers or task.tools else ANSWERED
    return len(QUESTIONS) * ASKED + _wanted(examples.inputs) * SEED_TRIES + answered


def from_prompt(task: Task) -> Draft:
    """What the prompt itself shows: seeds, their form, patterns of the agent's actions."""
    draft, examples = Draft(), examples_in(task.prompt)
    seeds = list(examples.inputs)
    form = wrapped(seeds[0], examples.later) if len(seeds) == 1 else None
    if form is not None:
        seeds = [form[0]]
        source = "the prompt's example without what its later turns repeat of it: check"
        draft.add("inputs.wrap", form[1], source)
        draft.add("inputs.pattern", r'[^\n"]+', "one line, as the prompt's example")
    if seeds:
        draft.add("inputs.seeds", seeds, FROM_PROMPT)
    if examples.answers and not task.tools:
        _actions(draft, task, examples.answers, examples.inputs,
                 f"matches the {len(examples.answers)} answers in the prompt: check")  # fmt: skip
        if "action_pattern" not in draft.missing and len(examples.inputs) == 1:
            pattern = end_pattern_of(examples.answers, draft.values[-1].value)
            if pattern is not None:
                draft.add("conversations.end_pattern", pattern,
                          "how the prompt's example ends; others may, too: check")  # fmt: skip
    return draft


async def draft_with(task: Task, models: Models, model: str, seed: int) -> Draft:
    """A whole draft: what the prompt shows, and what a model says where it shows nothing.

    Args:
        task: the task as the scaffold has it, with every key at its default.
        models: who answers; the generator drafts, and the target shows how it acts.
        model: the generator's name, for the comments.
        seed: of what is drawn.

    Raises:
        SynthError: no request can be answered.
    """
    draft, by = from_prompt(task), f"drafted by {model}: check"
    log.info("Asking %d questions on the application ...", len(QUESTIONS))
    generate = unthinking(models.generator.generate)
    found = await asyncio.gather(*(_answers(task, generate, one, seed) for one in QUESTIONS))
    lists: list[tuple[str, dict[str, list[str]]]] = []
    for question, (lines, fault) in zip(QUESTIONS, found, strict=True):
        _told(question.key, f"{len(lines)} of {question.many}", fault)
        if len(lines) < question.least:
            draft.missing[question.key] = f"{model} gave no good answer ({fault})"
        elif question.many > 1:
            lists.append((by, {question.key.rpartition(".")[2]: lines}))
        else:
            draft.add(question.key, lines[0], by)
    if lists:
        draft.values.append(Drafted("inputs.vary", tuple(lists)))
    made = await _seeds(_with(task, draft), generate, draft, seed, model)
    if made:
        seeds = next((one for one in draft.values if one.key == "inputs.seeds"), None)
        if seeds is not None:
            draft.values.remove(seeds)
        parts = seeds.parts if seeds is not None else ()
        draft.values.append(Drafted("inputs.seeds", (*parts, (by, made))))
    if not task.tools and not any(one.key == "action_pattern" for one in draft.values):
        target = unthinking(models.target.generate)
        await _observed_actions(_with(task, draft), target, draft, seed)
    return draft


async def _answers(
    task: Task, generate: Generate, question: Question, seed: int
) -> tuple[list[str], str]:
    """What is good of a model's answers to a question, asked again while it is too little; and what
    was the matter with the others."""
    good: list[str] = []
    faults: Counter[str] = Counter()
    for number in range(ASKED):
        try:
            answer = await generate(question_request(task, question, seed, number))
            text = some_answer(answer, "answer")
        except (RowError, RequestError) as error:
            faults[error.cause] += 1
            continue
        more, fault = taken(text, question, task, answer.finish == "length", good)
        good += more
        faults.update([fault] if fault else [])
        if len(good) >= min(question.many, 2 * question.least):
            break
    return good, ", ".join(fault for fault, _ in faults.most_common(2))


async def _seeds(task: Task, generate: Generate, draft: Draft, seed: int, model: str) -> list[str]:
    """Inputs made as a run makes them, and judged as a run judges them, to be seeds."""
    wanted = _wanted(task.config.inputs.seeds)
    if not wanted:
        return []
    given = task.config.inputs
    lengths = [len(seed) for seed in given.seeds] or [given.min_chars, given.max_chars]
    settings = given.model_copy(
        update={
            "count": wanted,
            "max_tries": SEED_TRIES,
            "max_tokens": max(SEED_TOKENS, max(map(len, given.seeds), default=0) // CHARS),
            "wrap": None,
            "min_chars": max(min(lengths) // LENGTHS, given.min_chars),
            "max_chars": min(max(lengths) * LENGTHS, given.max_chars),
        }
    )
    task = replace(task, config=task.config.model_copy(update={"inputs": settings}))
    made: list[str] = []
    faults: Counter[str] = Counter()
    log.info("Asking for %d seeds ...", wanted)

    def reject(rejection: Rejection) -> None:
        faults[rejection.reason] += 1
        log.info("  try %d: %s", rejection.position + 1, rejection.reason)

    def fail(number: int, error: RequestError) -> None:
        faults[error.cause] += 1

    try:
        async for text in inputs(task, generate, seed, reject, fail):
            made.append(text)
            log.info("  seed %d of %d", len(made), wanted)
    except TooFewInputs:
        pass
    why = ", ".join(f"{count} x {fault}" for fault, count in faults.most_common(3))
    _told("inputs.seeds", f"{len(made)} of {wanted}", why)
    if len(made) < wanted:
        key = "inputs.seeds"
        draft.missing[key] = f"{model} wrote {len(made)} good ones of {wanted} ({why})"
    return made


async def _observed_actions(task: Task, generate: Generate, draft: Draft, seed: int) -> None:
    """The form of the target's own answers to a few seeds, where the prompt shows none."""
    sent = list(task.config.inputs.seeds)[:ANSWERED]
    if len(sent) < ANSWERED:
        draft.missing["action_pattern"] = "there are too few seeds to see how it answers"
        return
    log.info("Looking at the answers to %d seeds ...", len(sent))

    async def answer(text: str) -> str:
        messages = teacher_messages(task.prompt, (Message("user", text),))
        how = task.config.target_sampling
        try:
            given = await generate(Request(messages, how, derived_seed(seed, "draft")))
            return some_answer(given, "answer")
        except (RowError, RequestError):
            return ""

    answers = await asyncio.gather(*map(answer, sent))
    if all(answers):
        source = f"matches the target's answers to the first {len(sent)} seeds: check"
        _actions(draft, task, answers, sent, source)
    else:
        draft.missing["action_pattern"] = "the target did not answer the seeds"


def _actions(
    draft: Draft, task: Task, answers: Sequence[str], sent: Sequence[str], source: str
) -> None:
    pattern = action_pattern_of(answers, prompt_text(task.prompt), sent)
    if pattern is None:
        draft.missing["action_pattern"] = "the answers have no form in common"
    else:
        draft.missing.pop("action_pattern", None)
        draft.add("action_pattern", pattern, source)


def _wanted(seeds: Sequence[str]) -> int:
    return max(SEEDS - len(seeds), 0)


def _with(task: Task, draft: Draft) -> Task:
    """The task with what is drafted so far, as far as it makes inputs."""
    changed = {
        one.key.rpartition(".")[2]: one.value
        for one in draft.values
        if one.key.startswith("inputs.")
    }
    data = task.config.model_dump()
    data["inputs"] |= changed
    return replace(task, config=type(task.config).model_validate(data))


def _told(key: str, count: str, fault: str) -> None:
    log.info("  %s: %s%s", key, count, f" (left out: {fault})" if fault else "")
