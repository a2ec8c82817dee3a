"""Stage 1: the generator writes new inputs, after the example of a few seeds.

Source: "pseudo user input generation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace

from synth.engines.base import Answer, Message, Request
from synth.errors import LimitReached, RequestError, RowError, SynthError
from synth.quality.chatter import CHATTER, example_in
from synth.quality.chosen import Filters, chosen_filters
from synth.quality.dedup import KnownTexts
from synth.quality.filters import (
    CALLS,
    CUT_THINKING,
    LEAKS,
    NO_TEXT,
    input_fault,
    instruction_and_examples,
    tools_called,
    without_text,
)
from synth.quality.role_markers import holds_marker, role_marker
from synth.stages.ahead import Ahead
from synth.stages.slots import sample_prompt
from synth.stages.tries import Tries, check_alive, gave_up
from synth.stages.vary import asked_for, echoes
from synth.store.fingerprint import derived_seed, row_id
from synth.store.rows import Rejection, Row
from synth.store.store import Generate
from synth.task.sections import Inputs
from synth.task.taskfile import Task
from synth.task.templates import compile_wrap, instructed, prompt_text
from synth.text import word_runs

# Tries that wait for their answers at once: enough to fill any batch.
WINDOW = 256
AT_LEAST = 32
# The seconds a server has for a try, and for each token that it may have.
TRY_SECONDS = 60.0
TOKEN_SECONDS = 0.5

DOCUMENT = """\
Below, between two lines of dashes, are the instructions that an AI application works under.

----------
{prompt}
----------

You write what the users of this application send it. Whenever you are asked, write one new \
example, unlike those before it and of the same form. Write the example alone, without a comment."""
PLAIN = """\
You write what the users of an AI application send it. Whenever you are asked, write one new \
example, unlike those before it and of the same form. Write the example alone, without a comment."""


class _Known:
    """What a text may not be, beyond its form: what a filter rejects, the prompt's words, one we
    have."""

    def __init__(self, task: Task, wrap: Callable[[str], str], filters: Filters) -> None:
        self._task = task
        self._wrap = wrap
        self._filters = filters
        self._settings = task.config.inputs
        instruction, examples = instruction_and_examples(task.prompt)
        # What a seed shares with the prompt is the application's form.
        self._prompt = self._runs(instruction) - self._runs(self._settings.seeds)
        self._texts = KnownTexts(self._settings.near_duplicate)
        for example in examples:
            self._texts.add(example, "an example in the prompt")
        for seed in self._settings.seeds:
            self._texts.add(seed, "a seed", wrap(seed))

    def _runs(self, texts: Iterable[str]) -> frozenset[str]:
        count = self._settings.copied_words
        return frozenset(run for text in texts for run in word_runs(text, count) if count)

    def check(self, text: str, number: int) -> None:
        """Take a try's text in.

        Raises:
            RowError: says why not.
        """
        self._filters.check_input(new_row(self._task, number, self._wrap(text)), text)
        if "role_markers" in self._task.config.filters:
            marker = role_marker(text, self._task, made=True)
            if marker:
                raise RowError(holds_marker(marker))
        runs = word_runs(text, self._settings.copied_words)
        copied = next((run for run in runs if run in self._prompt), "")
        if copied:
            raise RowError(LEAKS, f"the prompt has these words, too: {copied!r}")
        twin = self._texts.add(text, f"try {number}", self._wrap(text))
        if twin is not None:
            raise RowError(*twin)


def new_row(task: Task, position: int, text: str) -> Row:
    """The row of an input, with nothing made of it yet."""
    name = task.prompt_id
    return Row(position, row_id(name, text), name, task.prompt, text, tools=task.tools)


def input_request(task: Task, seed: int, number: int, timeout: float | None = None) -> Request:
    """What try `number` asks the generator: it depends on the task, the seed and the number.

    The server has `timeout` seconds to answer, by default enough for `inputs.max_tokens` tokens.
    """
    settings = task.config.inputs
    draw = random.Random(f"{seed}-{number}")
    shots = draw.sample(settings.seeds, min(settings.shots, len(settings.seeds)))
    shown = sample_prompt(task, seed)
    document = DOCUMENT.format(prompt=prompt_text(shown, task.tools))
    system = document if settings.show_prompt else PLAIN
    turns: list[Message] = []
    for shot in shots:
        turns += [Message("user", settings.request), Message("assistant", shot.strip())]
    turns.append(Message("user", asked_for(settings, seed, number)))
    messages = instructed(task.config.prompt_role, system, turns)
    if timeout is None:
        timeout = TRY_SECONDS + TOKEN_SECONDS * settings.max_tokens
    return Request(messages, settings.sampling, derived_seed(seed, f"input-{number}"), timeout)


def _stop(number: int, error: RequestError) -> None:
    raise error


async def inputs(
    task: Task,
    generate: Generate,
    seed: int,
    reject: Callable[[Rejection], None],
    fail: Callable[[int, RequestError], None] = _stop,
    window: int = WINDOW,
    timeout: float | None = None,
    filters: Filters | None = None,
) -> AsyncGenerator[str, None]:
    """Yield `inputs.count` distinct, well-formed inputs, in order of try.

    As many tries are made as the yield so far calls for, and `window` at most wait for their
    answers. Those that are answered and come behind one that is not take no place: a request that
    hangs does not hold up the others. Tries are judged in their order, so the inputs, and the
    tries that were made at the end, are the same whatever order the answers come in.

    Args:
        task: the task.
        generate: the generator.
        seed: the run's seed.
        reject: called with every try that gave no new input.
        fail: called with every try that was not answered. It takes the place of an input, so that
            the others are what they would be if it had been answered. By default it stops.
        filters: judge each new input; the task's where none are given.
        window: tries that wait for their answers at once.
        timeout: seconds a server has for a try; see `input_request`.

    Raises:
        SynthError: `count * max_tries` tries gave fewer, or the model answers with nothing.
        LimitReached: the run may ask no more; tries that were sent are stored.
    """
    settings = task.config.inputs
    wrap = compile_wrap(settings.wrap) if settings.wrap else str.strip
    known = _Known(task, wrap, filters or Filters(chosen_filters(task)))
    tries = Tries()
    most = settings.count * settings.max_tries
    ahead = Ahead(lambda number: _ask(generate, input_request(task, seed, number, timeout)), window)

    try:
        while tries.made < settings.count:
            ahead.call_for(min(tries.tried + _wanted(tries, settings), most))
            number, answer = tries.tried, await ahead.next()
            if answer is None:
                raise gave_up(tries, settings.count)
            tries.tried += 1
            if isinstance(answer, RequestError):
                tries.made += 1
                fail(number, answer)
                continue
            text, fault = _judged(answer, settings)
            try:
                if fault is not None:
                    raise fault
                known.check(text, number)
            except RowError as error:
                tries.drop(error.reason, text or error.detail)
                made = {"text": text}
                reject(Rejection("inputs", number, error.reason, error.detail, made, error.filter))
                check_alive(tries, settings.count)
                continue
            tries.made += 1
            yield wrap(text)
        # All that were called for are made, so that a second run finds every answer stored.
        await ahead.finish()
    except LimitReached:
        await ahead.drain()  # what was sent is stored
        raise
    finally:
        await ahead.cancel()


def _wanted(tries: Tries, settings: Inputs) -> int:
    """How many more tries the yield so far calls for."""
    rate = max(tries.made / tries.tried, 1 / settings.max_tries) if tries.tried else 1.0
    missing = settings.count - tries.made
    # A low yield calls for more tries than inputs are missing, but not for all at once.
    return min(math.ceil(missing / rate), max(missing, AT_LEAST))


def _judged(answer: Answer | SynthError, settings: Inputs) -> tuple[str, RowError | None]:
    """The example in the text of a try, and why it is not well-formed (None if it is)."""
    if isinstance(answer, RowError):
        return "", answer
    assert isinstance(answer, Answer)
    text = answer.text.strip()
    example = example_in(text, settings.seeds)
    if (example is None and answer.finish != "length") or echoes(text, settings):
        return text, RowError(CHATTER)
    text = text if example is None else example
    fault = input_fault(replace(answer, text=text), settings)
    detail = ""
    if (fault or "").startswith((NO_TEXT, CUT_THINKING)):
        detail = without_text(answer)[1]
    elif (fault or "").startswith(CALLS):
        detail = tools_called(answer)[1]
    return text, None if fault is None else RowError(fault, detail)


async def _ask(generate: Generate, request: Request) -> Answer | SynthError:
    try:
        return await generate(request)
    except (RowError, RequestError) as error:
        return error
