"""A model that is asked what the store does not hold yet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from synth.engines.base import Answer, Engine, Request
from synth.engines.cut_prompt import cut_prompt
from synth.engines.tops import enough, wanted
from synth.store.fingerprint import request_key
from synth.store.store import Generate, Store

OnAnswer = Callable[[str, Answer, bool], None]
log = logging.getLogger("synth")


def cached(
    engine: Engine,
    store: Store,
    stage: str,
    on_answer: OnAnswer,
    ask: Generate | None = None,
) -> Generate:
    """`engine.generate` that looks into the store first, and stores each new answer at once.

    Args:
        engine: the model to ask.
        store: where answers are kept. One without the likeliest tokens that a request wants told is
            asked for again.
        stage: noted beside each answer.
        on_answer: called as `on_answer(stage, answer, asked)`; `asked` is False for an answer that
            was in the store.
        ask: called in place of `engine.generate`.
    """

    async def generate(request: Request) -> Answer:
        key = request_key(engine.identity, request)
        async with store.lock(key):
            answer = store.get(key)
            if answer is not None and (cut := cut_prompt(request, answer, "The model")):
                # From a run that did not see it yet; whatever it is, it is no answer to this.
                log.warning("%s It is asked again.", cut.cause)
                answer = None
            if answer is not None and not enough(answer.tops, request.logprobs):
                answer = None
            asked = answer is None
            if answer is None:
                answer = await (ask or engine.generate)(request)
                await store.put(key, answer, stage)
            store.unlock(key)
        answer = replace(answer, tops=wanted(answer.tops, request.logprobs))
        on_answer(stage, answer, asked)
        return answer

    return generate
