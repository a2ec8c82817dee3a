"""Requests for engines, and how tests ask them."""

from __future__ import annotations

import asyncio

from synth.engines.base import Answer, Message, Request, Sampling
from tests.tiny import CORPUS

PROMPT = (
    Message("system", " ".join(CORPUS) + " " + CORPUS[1]),
    Message("user", CORPUS[4]),
    Message("assistant", CORPUS[2]),
)

GREEDY = Sampling(max_tokens=24)

SAMPLED = Sampling(temperature=1.0, top_p=0.9, max_tokens=24)


def ask(text: str, sampling: Sampling = GREEDY, seed: int = 0, prompt=()) -> Request:
    return Request((*prompt, Message("user", text)), sampling, seed)


def answers(engine, requests: list[Request], one_by_one: bool = False) -> list[Answer]:
    """Ask all at once (or one after the other) and close the engine."""

    async def run() -> list[Answer]:
        try:
            if one_by_one:
                return [await engine.generate(request) for request in requests]
            return list(await asyncio.gather(*map(engine.generate, requests)))
        finally:
            await engine.close()

    return asyncio.run(run())


def echo(messages: list[dict[str, str]]) -> str:
    return "You said: " + messages[-1]["content"]
