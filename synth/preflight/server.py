"""What `synth preflight` learns from a server that scores given answers, which vLLM does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from synth.engines.base import Message
from synth.engines.server.engine import OpenAIEngine
from synth.engines.server.scoring import context, request_length, score
from synth.preflight.found import Scored
from synth.stages.reasons import reason_messages
from synth.store.rows import Row
from synth.task.taskfile import Task
from synth.task.templates import teacher_messages

if TYPE_CHECKING:
    import openai


async def measure_served(engine: OpenAIEngine, rows: Sequence[Row], task: Task) -> Scored | None:
    """The likelihood of each teacher answer with the prompt and without, and its tokens in both.

    Returns:
        None where the server does not score.
    """
    import openai

    try:
        return await _measure(engine.client(), engine.model, rows, task)
    except (openai.APIError, ValueError):
        return None


async def _measure(
    client: openai.AsyncOpenAI, model: str, rows: Sequence[Row], task: Task
) -> Scored | None:
    nats, tokens, other, longest = 0.0, 0, "", 0
    for row in rows:
        question = (Message("user", row.input),)
        views = (teacher_messages(row.prompt, question), question)
        scored = [await score(client, model, view, row.teacher_output) for view in views]
        with_prompt, without = scored
        if not with_prompt or not without:
            return None
        same = [token.id for token in with_prompt] == [token.id for token in without]
        if not same and not other:
            other = repr("".join(token.text for token in with_prompt)[:80])
        nats += sum(token.logprob for token in with_prompt)
        nats -= sum(token.logprob for token in without)
        tokens += len(with_prompt)
        asked = await request_length(client, model, reason_messages(row, task))
        longest = max(longest, asked + task.config.reasons.max_tokens)
    return Scored(nats / tokens, False, other, longest, await context(client))
