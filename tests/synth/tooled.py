"""A task with two tools, and answers that call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from synth.engines.base import Answer, ToolCall, Usage
from synth.task.taskfile import Task, load_task
from tests.synth.scripted import write_task

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {
                "type": "object",
                "properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
                "required": ["item"],
            },
        },
    }
    for name, about in (("stock_of", "How many there are."), ("order", "Orders an item."))
]
CALL = '<tool_call>\n{"name": "stock_of", "arguments": {"item": "lamp"}}\n</tool_call>'


def write_tooled(
    folder: Path, prompt: str = "You sell lamps.", file: str = "prompt.md", **sections: Any
) -> Path:
    """A task folder whose prompt, in a file of this name, has two tools."""
    settings = {"action_pattern": None, "reasons": {"share": 0}, "tools": "tools.json", **sections}
    write_task(folder, **settings)
    data = yaml.safe_load((folder / "task.yml").read_text())
    (folder / "task.yml").write_text(yaml.safe_dump({**data, "prompt": file}))
    (folder / file).write_text(prompt)
    (folder / "tools.json").write_text(json.dumps(TOOLS))
    return folder


def tooled(folder: Path, prompt: str = "You sell lamps.", **sections: Any) -> Task:
    """`write_tooled`, read."""
    return load_task(str(write_tooled(folder, prompt, **sections)))


# A prompt that shows a call, as a list of messages.
LISTED = """\
[{role: system, content: You sell lamps.}, {role: user, content: 'Desks?'},
 {role: assistant, content: "", tool_calls: [{id: e1, type: function, function:
   {name: stock_of, arguments: {item: desk}}}]},
 {role: tool, tool_call_id: e1, content: '{"there": 3}'},
 {role: assistant, content: Three.}]"""


def calling(name: str, text: str = "", id: str = "", **arguments: Any) -> Answer:
    """An answer with one call, as a server gives it."""
    call = ToolCall(id, name, json.dumps(arguments))
    return Answer(text, "stop", tool_calls=(call,), usage=Usage(10, 5))
