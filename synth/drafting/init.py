"""`synth init`: a task's folder, its task.yml filled in as far as prompt and model know."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

from genpi_plugin.data.slots import names_in, slot
from synth.drafting.draft import Draft, draft_with, most_requests
from synth.drafting.fill import filled, remarked
from synth.running.run import for_target, open_engines
from synth.running.settings import RunSettings
from synth.task.placeholders import placeholders
from synth.task.scaffold import Scaffold, init_task
from synth.task.slots import texts_of
from synth.task.taskfile import Task

HEAD = """\
# A draft: from the prompt where it says so, else by {model}. Read what is marked `check`.
"""
HEAD_SLOTS = """\
# The prompt's places for values are listed at the end, to be given sources in `slots`.
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
        places = _slots(scaffold.task)
        head = HEAD.format(model=settings.generator.model) + (HEAD_SLOTS if places else "")
        return head + text + places

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
    """What the prompt has of values' places, as comments to fill in: a source for each slot, and
    how what only looks like one is made one."""
    found = placeholders(texts_of(task.prompt))
    slots = list(dict.fromkeys(name for place in found for name in names_in(place)))
    others = [place for place in found if not names_in(place)]
    lines = []
    if slots:
        lines += [
            "",
            "# CHANGE: the prompt has slots, places for values that your application fills in. Say",
            "# where the values come from, in place of `slots: {}` above, for example as",
            "#   [a, b], {generator: what to write}, {now: {from, to}}, {number: {from, to}} or:",
            "# slots:",
            *(f"#   {name}: {{file: values.csv, column: {name}}}" for name in slots),
            "# Each row then has values of its own, and none is internalized. Without a source the",
            "# marks are sent and internalized as they stand.",
        ]
    if others:
        lines += [
            "",
            "# CHANGE: the prompt has what looks like places for values. They are sent and",
            "# internalized as they stand, unless you write them as slots with sources in `slots`:",
            *(f"#   {place}: write it as {slot(_name(place))} if your application fills it in"
              for place in others),
        ]  # fmt: skip
    return "\n".join([*lines, ""]) if lines else ""


def _name(place: str) -> str:
    """A slot's name for what looks like a value's place."""
    return "_".join(re.findall(r"[A-Za-z_][\w.]*", place))
