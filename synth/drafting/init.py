"""`synth init`: a task's folder, its task.yml filled in as far as prompt and model know."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

from synth.drafting.draft import Draft, draft_with, most_requests
from synth.drafting.fill import filled, remarked
from synth.running.run import RunSettings, for_target, open_engines
from synth.task.placeholders import placeholders
from synth.task.scaffold import Scaffold, init_task
from synth.task.taskfile import Task

HEAD = """\
# A draft: from the prompt where it says so, else by {model}. Read what is marked `check`.
"""
log = logging.getLogger("synth")


def init_drafted(
    folder: Path, prompt: Path, settings: RunSettings, tools: Path | None = None
) -> tuple[Path, Draft]:
    """Write a task's folder as `init_task` does, with what can be drafted filled in.

    Args:
        folder: the task's.
        prompt: the prompt's file.
        settings: the models to ask, and the seed.
        tools: the file of the tools that go with the prompt.

    Returns:
        The path of task.yml, and what was drafted. Each value stands there with a comment on where
        it comes from, and each that is missing with why.

    Raises:
        SynthError: the folder is there already, prompt or tools can't be read, or no request can
            be answered; nothing is written then.
    """
    drafts: list[Draft] = []

    def edited(scaffold: Scaffold) -> str:
        draft = _asked(scaffold.task, settings)
        drafts.append(draft)
        text, refused = filled(scaffold.text, draft.values)
        for one in refused:
            draft.values.remove(one)
            draft.missing[one.key] = "what was drafted would make the file invalid"
        for key, why in draft.missing.items():
            text = remarked(text, _own_key(text, key), f"not drafted: {why}")
        return HEAD.format(model=settings.generator.model) + text + _slots(scaffold.task)

    path = init_task(folder, prompt, tools, edited)
    return path, drafts[0]


def _asked(task: Task, settings: RunSettings) -> Draft:
    task = for_target(task, settings)
    model = settings.generator.model
    log.info("Drafting with %s: at most %d requests, a few hundred tokens each beside the prompt.",
             model, most_requests(task))  # fmt: skip

    async def work() -> Draft:
        async with open_engines(settings) as models:
            return await draft_with(task, models, Path(model).name, settings.seed)

    return asyncio.run(work())


def _own_key(text: str, key: str) -> str:
    """The scaffold's key: `inputs.vary` for a list in it."""
    return "inputs.vary" if key.startswith("inputs.vary.") else key


def _slots(task: Task) -> str:
    """What the prompt has that looks like a value's place, as comments to fill in."""
    names = [
        " ".join(re.findall(r"\w+", found))
        for found in placeholders(turn.content for turn in task.prompt)
    ]
    if not names:
        return ""
    lines = [
        "",
        "# CHANGE: the prompt has what looks like places for values:",
        *(f"#   {name}" for name in dict.fromkeys(names)),
        "# They are sent and internalized as they stand. Write one value in each place, or take it",
        "# out and send the value with the request.",
    ]
    return "\n".join([*lines, ""])
