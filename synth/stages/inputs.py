"""Stage 1: the generator writes new inputs, after the example of a few seeds.

Source: "pseudo user input generation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field, replace

from synth.engines.base import Answer, Message, Request
from synth.errors import LimitReached, RequestError, RowError, SynthError
from synth.quality.chatter import CHATTER, example_in
from synth.quality.chosen import Filters, chosen_filters
from synth.quality.dedup import KnownTexts
from synth.quality.filters import (
    CUT,
    EMPTY,
    LEAKS,
    NO_TEXT,
    input_fault,
    instruction_and_examples,
    without_text,
)
from synth.stages.ahead import Ahead
from synth.store.fingerprint import derived_seed, row_id
from synth.store.rows import Rejection, Row
from synth.store.store import Generate
from synth.task.config import Inputs
from synth.task.taskfile import Task
from synth.task.templates import compile_wrap, instructed, prompt_text
from synth.text import word_runs

# Tries that wait for their answers at once: enough to fill any batch.
WINDOW = 256
AT_LEAST = 32
# The seconds a server has for a try, and for each token that it may have.
TRY_SECONDS = 60.0
TOKEN_SECONDS = 0.5
# So many tries with nothing but empty answers are enough to know.
EMPTY_TRIES = 40
# And so many without a single input, whatever is wrong with them.
FRUITLESS_TRIES = 100
NOTHING_CURE = (
    "Look at what it is asked and answers: python -m synth preview TASK --model MODEL. A base "
    "model without chat training, a wrong chat template, or an end token right at the start are "
    "the usual causes."
)
NO_TEXT_CURE = (
    "A model that thinks needs more `inputs.max_tokens`, or its thinking switched off, for example "
    "inputs.chat_template_kwargs: {enable_thinking: false}; one that calls tools should get none "
    "(--generator-request-args)."
)

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


@dataclass
class _Tries:
    """What became of the tries so far."""

    made: int = 0
    tried: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def without_text(self) -> int:
        """Tries that came to no text, whatever else they had."""
        return sum(
            count for fault, count in self.faults.items() if fault.startswith((EMPTY, NO_TEXT))
        )

    def drop(self, reason: str, text: str) -> None:
        self.faults[reason] += 1
        self.examples.setdefault(reason, text)


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
    return Row(position, row_id(name, text), name, task.prompt, text)


def input_request(task: Task, seed: int, number: int, timeout: float | None = None) -> Request:
    """What try `number` asks the generator: it depends on the task, the seed and the number.

    The server has `timeout` seconds to answer, by default enough for `inputs.max_tokens` tokens.
    """
    settings = task.config.inputs
    draw = random.Random(f"{seed}-{number}")
    shots = draw.sample(settings.seeds, min(settings.shots, len(settings.seeds)))
    system = DOCUMENT.format(prompt=prompt_text(task.prompt)) if settings.show_prompt else PLAIN
    turns: list[Message] = []
    for shot in shots:
        turns += [Message("user", settings.request), Message("assistant", shot.strip())]
    turns.append(Message("user", settings.request))
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
    tries = _Tries()
    most = settings.count * settings.max_tries
    ahead = Ahead(lambda number: _ask(generate, input_request(task, seed, number, timeout)), window)

    try:
        while tries.made < settings.count:
            ahead.call_for(min(tries.tried + _wanted(tries, settings), most))
            number, answer = tries.tried, await ahead.next()
            if answer is None:
                raise _gave_up(tries, settings.count)
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
                _check_alive(tries, settings.count)
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


def _wanted(tries: _Tries, settings: Inputs) -> int:
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
    if example is None and answer.finish != "length":
        return text, RowError(CHATTER)
    text = text if example is None else example
    fault = input_fault(replace(answer, text=text), settings)
    detail = without_text(answer)[1] if (fault or "").startswith(NO_TEXT) else ""
    return text, None if fault is None else RowError(fault, detail)


async def _ask(generate: Generate, request: Request) -> Answer | SynthError:
    try:
        return await generate(request)
    except (RowError, RequestError) as error:
        return error


def _check_alive(tries: _Tries, count: int) -> None:
    if tries.tried < EMPTY_TRIES or tries.made:
        return
    if tries.faults[EMPTY] == tries.tried:
        raise SynthError(
            f"The generator answers with nothing: {tries.tried} tries for an input, all empty.",
            NOTHING_CURE,
        )
    if tries.without_text == tries.tried or tries.tried >= FRUITLESS_TRIES:
        raise _gave_up(tries, count)


def _gave_up(tries: _Tries, count: int) -> SynthError:
    faults = dict(tries.faults)
    duplicates = faults.pop("duplicate", 0) + faults.pop("near duplicate", 0)
    malformed = ", ".join(f"{number} {reason}" for reason, number in sorted(
        faults.items(), key=lambda item: -item[1]))  # fmt: skip
    lines = [
        f"Only {tries.made} of {count} inputs after {tries.tried} tries "
        f"(yield {tries.made / tries.tried:.1%}): {duplicates} duplicates, "
        f"{sum(faults.values())} malformed" + (f" ({malformed})." if malformed else ".")
    ]
    for reason, _ in tries.faults.most_common(3):
        text = " ".join(tries.examples[reason].split())
        lines.append(f"  {reason}: {text[:160]!r}")
    if faults == {EMPTY: tries.tried}:
        cure = NOTHING_CURE
    elif (tries.without_text - tries.faults[EMPTY]) * 2 > sum(faults.values()):
        cure = NO_TEXT_CURE
    elif duplicates > sum(faults.values()):
        cure = (
            "The generator repeats itself: write more and more varied `inputs.seeds`, raise "
            "`inputs.temperature`, or ask for fewer inputs (-n)."
        )
    elif faults.get(CUT, 0) * 2 > sum(faults.values()):
        cure = (
            "The generator does not come to an end: raise `inputs.max_tokens`, write shorter "
            "`inputs.seeds`, or use a stronger --generator-model."
        )
    elif faults.get(LEAKS, 0) * 2 > sum(faults.values()):
        cure = (
            "If the examples look right, raise `inputs.copied_words` (0 allows every copy of the "
            "prompt); if not, add `inputs.seeds`, or set `inputs.show_prompt: false`."
        )
    else:
        cure = (
            "If the examples look right, loosen `inputs.pattern`, `min_chars` or `max_chars`; if "
            "not, write clearer `inputs.seeds` and `inputs.request`, or use a stronger "
            "--generator-model."
        )
    return SynthError("\n".join(lines), cure + " What was made so far is kept.")
