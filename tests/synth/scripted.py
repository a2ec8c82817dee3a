"""A task, and a model that answers by a script: what every pipeline test needs."""

from __future__ import annotations

import asyncio
import zlib
from collections import namedtuple
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from synth.engines.base import Answer, Message, Request, Scorer, Usage
from synth.engines.messages import as_messages
from synth.task.taskfile import Task, load_task

Said = namedtuple("Message", ["role", "content"])
PROMPT = "You are a shop agent. Answer with one action: search[words] or click[value]."
SEEDS = ["find a red cotton shirt", "i need a desk lamp under 30 dollars"]
# So many that hardly two tries draw the same ones: `shop` answers by what it is shown.
MANY_SEEDS = [*SEEDS, *(f"find a thing of kind {kind}" for kind in range(60))]
TASK = {
    "name": "shop",
    "action_pattern": r"(?P<action>(search|click)\[[^\]]+\])",
    "inputs": {"count": 4, "seeds": MANY_SEEDS, "request": "Write a new shopping request."},
    "reasons": {"share": 1},
    "conversations": {"max_turns": 3, "environment": "a web shop"},
}


def write_task(folder: Path, prompt: str = PROMPT, **sections: Any) -> Path:
    """A task folder with `TASK`'s values, replaced section by section or key by key."""
    data: dict[str, Any] = yaml.safe_load(yaml.safe_dump(TASK))
    for name, value in sections.items():
        if isinstance(value, dict):
            data[name] = {**data.get(name, {}), **value}
        else:
            data[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    (folder / data.get("prompt", "prompt.md")).write_text(prompt)
    (folder / "task.yml").write_text(yaml.safe_dump(data))
    return folder


def make_task(folder: Path, prompt: str = PROMPT, **sections: Any) -> Task:
    """`write_task`, read."""
    return load_task(str(write_task(folder, prompt, **sections)))


def stage_of(messages: Sequence[Message]) -> str:
    """Which stage a request comes from, by its messages alone."""
    first = messages[0].content
    if first.startswith(("Below, between", "You write what")):
        return "inputs"
    if first.startswith("You compare two answers"):
        return "reasons"
    if first.startswith("Play a part"):
        return "environment"
    return "teacher" if PROMPT in first else "floor"


def shop(messages: Sequence[Message], seed: int = 0) -> str:
    """Sensible answers of every stage, each a function of the messages alone."""
    stage = stage_of(messages)
    last = messages[-1].content
    if stage == "inputs":
        return f"please find item number {_number(messages)} for me"
    if stage == "reasons":
        return "The prompt asks for one action, so the answer is an action."
    if stage == "environment":
        return f"Page {len(messages)} with buttons for {last[-12:]}"
    if stage == "teacher":
        return (
            f"search[{last[-20:].strip('[]')}]"
            if len(messages) < 4
            else f"click[Buy Now {len(messages)}]"
        )
    return f"Sure, I can help with {last[:30]}"


def _number(messages: Sequence[Message]) -> int:
    """A number that follows from what was said alone."""
    return zlib.crc32(repr(tuple(Said(turn.role, turn.content) for turn in messages)).encode())


def answers(messages: Sequence[dict[str, str]]) -> str:
    """`shop`, as a server is asked."""
    return shop(as_messages(messages))


class Scripted:
    """An engine whose answers are `script(messages, seed)`: a text, an `Answer` or an error."""

    def __init__(
        self, script: Callable[[Sequence[Message], int], Any] = shop, name: str = "scripted"
    ) -> None:
        self.script = script
        self.name = name
        self.asked: list[Request] = []
        self.closed = False

    waiting = None

    @property
    def identity(self) -> dict[str, str]:
        return {"model": self.name}

    async def generate(self, request: Request) -> Answer:
        self.asked.append(request)
        # Later requests are answered first: nothing may depend on the order of answers.
        for _ in range(20 - len(self.asked) % 20):
            await asyncio.sleep(0)
        answer = self.script(request.messages, request.seed)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Answer) else Answer(answer, "stop", usage=Usage(10, 5))

    @property
    def capacity(self) -> int:
        return 32

    async def context(self) -> int | None:
        return None

    async def scorer(self) -> Scorer | None:
        return None

    async def close(self) -> None:
        self.closed = True

    def stages(self) -> list[str]:
        """The stage of each request so far."""
        return [stage_of(request.messages) for request in self.asked]
