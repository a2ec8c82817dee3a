"""What to say of a task that shows the generator no example of an input."""

from __future__ import annotations

import shlex

from synth.task.taskfile import Task


def seed_notes(task: Task) -> list[str]:
    """A sentence on missing seeds, with the command that drafts some; none where there are any."""
    if task.config.inputs.seeds:
        return []
    prompt = shlex.quote(str(task.source.parent / task.config.prompt))
    tools = ""
    if task.config.tools is not None:
        tools = f" --tools {shlex.quote(str(task.source.parent / task.config.tools))}"
    return [
        "no `inputs.seeds`: the generator has no example of what users send, and writes what it "
        f"makes of the prompt. Write a handful into {task.source}, or have a model draft them, "
        f"beside it: python -m synth init my-draft --prompt {prompt}{tools} "
        "--model MODEL"
    ]
