"""The values of slots as a run draws them: those that the generator writes, and each row's own."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

from genpi_plugin.data.slots import dumps, fill, fill_messages
from genpi_plugin.data.text import control_fault, folded, is_visible
from synth.engines.base import Answer, Message, Request
from synth.engines.messages import as_dicts, as_messages
from synth.errors import RowError, SynthError
from synth.stages.concurrency import gather_all
from synth.store.fingerprint import derived_seed
from synth.store.rows import Row
from synth.store.store import Generate
from synth.task.slot_config import Source
from synth.task.taskfile import Task
from synth.task.templates import instructed

log = logging.getLogger("synth")
INSTRUCTION = """\
You make up values that an application puts into its texts. Whenever you are asked, write one new \
value on one line: the value alone, without quotation marks or a comment."""
MAX_CHARS = 200
# So many tries that are all cut off are enough to know; fewer where fewer values are wanted.
CUT_TRIES = 40
CUT_CURE = (
    "A model that thinks needs more `inputs.max_tokens`, or its thinking switched off, for example "
    "inputs.chat_template_kwargs: {enable_thinking: false}; ask others for a value of one line."
)
# Tries for a value, at most so many times as values are wanted.
MAX_TRIES = 10
QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»"}


async def with_written(task: Task, generate: Generate, seed: int) -> Task:
    """The task with the values that the generator is asked for, distinct, in the order of tries.

    Raises:
        SynthError: it wrote none for a slot.
        RequestError: it can't be asked.
    """
    wanted = task.slots.wanted
    if not wanted:
        return task
    made = {name: await _written(name, wanted[name], task, generate, seed) for name in wanted}
    return replace(task, slots=task.slots.with_lines(made))


def with_values(row: Row, task: Task, seed: int) -> Row:
    """The row with its own values of the prompt's slots, and what is kept of them.

    Values that came with the input stay; the others are drawn.
    """
    slots = task.slots
    if not slots:
        return row
    assert slots.kept is not None
    given = json.loads(row.slots) if row.slots else {}
    values = {**slots.draw(seed, row.id, row.input), **given}
    kept = Message(slots.kept.role, fill(slots.kept.content, values))
    return replace(row, slots=dumps(values), kept=(kept,))


def values_of(row: Row) -> dict[str, str]:
    """The row's values by the names of the slots; none where the prompt has none."""
    values: dict[str, str] = json.loads(row.slots) if row.slots else {}
    return values


def filled_prompt(row: Row) -> tuple[Message, ...]:
    """The row's prompt with its values."""
    if not row.slots:
        return row.prompt
    return as_messages(fill_messages(as_dicts(row.prompt), values_of(row)))


def sample_prompt(task: Task, seed: int) -> tuple[Message, ...]:
    """The task's prompt with one draw of values, for whoever reads it outside of a row."""
    if not task.slots:
        return task.prompt
    return as_messages(fill_messages(as_dicts(task.prompt), task.slots.sample(seed)))


async def _written(
    name: str, source: Source, task: Task, generate: Generate, seed: int
) -> tuple[str, ...]:
    assert source.generator is not None
    assert source.count is not None
    found: dict[str, str] = {}
    dropped: list[str] = []
    tries, cut, most = 0, 0, source.count * MAX_TRIES
    while len(found) < source.count and tries < most:
        step = min(source.count - len(found), most - tries, CUT_TRIES if tries == cut else most)
        requests = [
            value_request(name, task, seed, number) for number in range(tries, tries + step)
        ]
        for answer in await gather_all(*(_ask(generate, request) for request in requests)):
            text = _value(answer)
            cut += isinstance(answer, Answer) and answer.finish == "length"
            if text and len(found) < source.count:
                found.setdefault(folded(text), text)
            elif not text:
                dropped.append(_said(answer))
        tries += step
        if tries == cut and tries >= CUT_TRIES:
            break
    last = f" The last answer: {dropped[-1][:200]!r}." if dropped else ""
    if tries == cut:
        raise SynthError(
            f"`slots.{name}`: the generator's {tries} tries for a value were all cut off at "
            f"`inputs.max_tokens` ({task.config.inputs.max_tokens}).{last}",
            CUT_CURE,
        )
    if not found:
        raise SynthError(
            f"`slots.{name}`: the generator wrote no value in {tries} tries.{last}",
            f"Ask for a value of one line ({source.generator!r} was asked), or give a list.",
        )
    if len(found) < source.count:
        log.warning(
            "slots.%s: the generator wrote %d distinct values in %d tries; %d were wanted.",
            name, len(found), tries, source.count,
        )  # fmt: skip
    return tuple(found.values())


def value_request(name: str, task: Task, seed: int, number: int) -> Request:
    """What try `number` for a value of a slot asks the generator."""
    source = task.slots.sources_of[name]
    turns = [Message("user", source.generator or "")]
    messages = instructed(task.config.prompt_role, INSTRUCTION, turns)
    draw = derived_seed(seed, f"slot-{name}-{number}")
    return Request(messages, task.config.inputs.sampling, draw)


def _value(answer: Answer | RowError) -> str:
    """The value in an answer; "" if there is none."""
    if isinstance(answer, RowError) or answer.finish == "length" or answer.tool_calls:
        return ""
    text = answer.text.strip()
    if len(text) > 1 and QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    if "\n" in text or len(text) > MAX_CHARS or control_fault(text) or not is_visible(text):
        return ""
    return text


def _said(answer: Answer | RowError) -> str:
    """What is told of an answer that is no value."""
    if isinstance(answer, RowError):
        return answer.reason
    return answer.text or answer.reasoning or ""


async def _ask(generate: Generate, request: Request) -> Answer | RowError:
    try:
        return await generate(request)
    except RowError as error:
        return error
