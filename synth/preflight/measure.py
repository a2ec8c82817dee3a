"""What a model that scores given answers says of a few rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from genpi_plugin.data.prompt_generation import Recited, answer, question
from genpi_plugin.data.slots import SLOT, names_in
from synth.engines.base import Engine, Message, Request, Scorer
from synth.errors import SynthError
from synth.preflight.found import Scored
from synth.stages.reasons import reason_messages
from synth.stages.requests import floor_request, teacher_request
from synth.store.rows import Row
from synth.task.taskfile import Task
from synth.task.templates import prompt_text

# Tokens of the prompt that a recital holds at most, unless told: `prompt_generation_piece` in
# genpi_plugin/args.py.
TRAINED_PIECE = 256


async def measure(engine: Engine, rows: Sequence[Row], task: Task) -> Scored | None:
    """What the prompt does to each teacher answer, and the longest that the model must take.

    Returns:
        None where the model is not asked to score.

    Raises:
        SynthError: it scores, and did not score this.
    """
    scorer = await engine.scorer()
    if scorer is None:
        return None
    nats, tokens, other, longest, scored = 0.0, 0, "", 0, 0
    for row in rows:
        teacher, floor = teacher_request(row, task, 0), floor_request(row, task, 0)
        found = await scorer.divergence(teacher, floor, *_answer(row))
        if found is not None:
            scored += 1
            nats += found.nats
            tokens += found.tokens
            other = other or found.other_tokens
        if row.floor_output:
            longest = max(longest, await _longest(scorer, row, task))
    if not scored:
        raise SynthError("All of them call tools or think, and the server scores plain texts.")
    before = await _before_slot(scorer, rows[0], task) if rows[0].slots else None
    context = await engine.context()
    mean = nats / max(tokens, 1)
    return Scored(mean, scorer.exact, other, longest, context, scored, before)


def _answer(row: Row) -> tuple[Message, Sequence[int] | None]:
    """The teacher's first answer, and its tokens where they are known."""
    if not row.conversation:
        return Message("assistant", row.teacher_output), None
    return row.conversation[0], row.token_ids[0] if row.token_ids else None


async def _before_slot(scorer: Scorer, row: Row, task: Task) -> int | None:
    """Tokens of the prompt before its first slot; None where the template does not take the rest
    alone."""
    rest = from_first_slot(row.prompt)
    if rest is None:
        return None
    try:
        whole, behind = [
            await scorer.tokens(teacher_request(one, task, 0))
            for one in (row, replace(row, prompt=rest))
        ]
    except SynthError:
        return None
    return whole - behind


def from_first_slot(prompt: Sequence[Message]) -> tuple[Message, ...] | None:
    """A prompt from its first slot on; from the call on, where that is in a call's arguments. None
    where it has no slot."""
    for number, turn in enumerate(prompt):
        if match := SLOT.search(turn.reasoning_content):
            rest = replace(turn, reasoning_content=turn.reasoning_content[match.start() :])
        elif match := SLOT.search(turn.content):
            rest = replace(turn, reasoning_content="", content=turn.content[match.start() :])
        else:
            calls = itertools.dropwhile(lambda call: not names_in(call.arguments), turn.tool_calls)
            rest = replace(turn, reasoning_content="", content="", tool_calls=tuple(calls))
            if not rest.tool_calls:
                continue
        return (rest, *prompt[number + 1 :])
    return None


async def _longest(scorer: Scorer, row: Row, task: Task) -> int:
    """Tokens of a request for a reason with room for the reason, or of a prompt-generation half,
    which shows input and answers, and holds the reason and, unless told otherwise, a piece of the
    prompt."""
    reasons = task.config.reasons
    asked = await scorer.tokens(Request(reason_messages(row, task), reasons.sampling))
    shown = question(row.input, row.floor_output, row.teacher_output)
    half = Request((Message("user", shown),), task.config.target_sampling)
    recited = prompt_text(row.prompt, row.tools)
    tokens = await scorer.tokens(half, recited) - await scorer.tokens(half)
    if tokens > TRAINED_PIECE:
        recited = recited[: len(recited) * TRAINED_PIECE // tokens]
    told = answer(Recited(recited), row.reason)
    return max(asked + reasons.max_tokens, await scorer.tokens(half, told))
