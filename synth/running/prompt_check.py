"""Whether the target takes the prompt, and reads all of it: what `validate` and `preflight` ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from synth.engines.base import Engine, Message, Request
from synth.engines.cut_prompt import check_context, check_growth
from synth.errors import RowError
from synth.running.run import open_engines
from synth.running.settings import RunSettings
from synth.stages.slots import sample_prompt
from synth.task.taskfile import Task
from synth.task.templates import teacher_messages

SHORT = (Message("user", "Hello."),)
# Every number is a token at least, whatever the tokenizer.
NUMBERS = 200
LONG = (Message("user", "Hello. " + " ".join(str(number) for number in range(NUMBERS))),)


def prompt_tokens(task: Task, settings: RunSettings) -> tuple[int | None, int | None]:
    """Send a short input with and without the prompt: (tokens with it, tokens without).

    None where the server does not count them.

    Raises:
        SynthError: the model is not there, its chat template does not take the prompt, or the
            prompt is longer than its context.
    """

    async def ask() -> tuple[int | None, int | None]:
        async with open_engines(settings) as models:
            teacher = await check_prompt(models.target, task, settings.target.model)
            without = replace(_request(task, SHORT), tools="")  # they belong to the prompt
            floor = await models.target.generate(without)
            return teacher, floor.usage.prompt_tokens

    return asyncio.run(ask())


async def check_prompt(target: Engine, task: Task, model: str) -> int | None:
    """Check that the target reads the whole prompt.

    A server that cuts may come to a count that could be a whole prompt's. So a longer input is
    sent, too: where its tokens don't come on top, something else was left out for them.

    Returns:
        The tokens of a short input with the prompt; None where they are not counted.

    Raises:
        SynthError: it does not, or there is no answer.
    """
    prompt = sample_prompt(task, 0)
    short, long = (_request(task, teacher_messages(prompt, turns)) for turns in (SHORT, LONG))
    check_context(short, await target.context(), model)
    try:
        with_more = (await target.generate(long)).usage.prompt_tokens
    except RowError:
        with_more = None  # what is too long is refused, and not cut
    tokens = (await target.generate(short)).usage.prompt_tokens
    if tokens is not None and with_more is not None:
        check_growth(short, tokens, with_more, NUMBERS, model)
    return tokens


def _request(task: Task, messages: tuple[Message, ...]) -> Request:
    """The shortest answer there is, with the arguments that go with the target's requests."""
    how = replace(task.config.target_sampling, temperature=0.0, max_tokens=1)
    return Request(messages, how, tools=task.tools)
