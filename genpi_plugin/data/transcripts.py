"""Prompts as one text: with a marker before each turn, as the official datasets have them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genpi_plugin.data.messages import Message, readable

MARKERS = {"<SYSTEM>:": "system", "<USER>:": "user", "<AGENT>:": "assistant"}
MARKER_OF = {role: marker for marker, role in MARKERS.items()}
# Those of other roles are written, and not read: a file with tools' turns is a list of messages.
TURN_MARKERS = {**MARKER_OF, "developer": "<DEVELOPER>:", "tool": "<TOOL>:"}


def parse_transcript(text: str) -> list[Message]:
    """Read `<SYSTEM>:`, `<USER>:`, `<AGENT>:` markers at line starts; an empty end is left out.

    As the official datasets have them: text before the first marker is a system message, and so
    is text without a marker. Prompt files are read more strictly (`prompts.read_transcript`).
    """
    before, turns = split_transcript(text)
    while turns and not turns[-1]["content"]:
        turns.pop()
    return [{"role": "system", "content": before}, *turns] if before or not turns else turns


def split_transcript(text: str) -> tuple[str, list[Message]]:
    """The text before the first marker of a transcript, and its turns, without white space."""
    pieces = re.split(r"^(<(?:SYSTEM|USER|AGENT)>:)", text, flags=re.MULTILINE)
    turns: list[Message] = [
        {"role": MARKERS[marker], "content": content.strip()}
        for marker, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    return pieces[0].strip(), turns


def prompt_text(prompt: Sequence[Message]) -> str:
    """The prompt as one text: the adapter learns to write it, and recitals are compared with it."""
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{TURN_MARKERS[m['role']]}\n{readable(m)}" for m in prompt)
