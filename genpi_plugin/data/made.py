"""What a dataset's folder says of how its answers were made: the synthesizer's `synth.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.messages import Message
from genpi_plugin.errors import TemplateError

RESOLVED_CONFIG = "synth.yaml"


def template_arguments(path: str) -> dict[str, Any] | None:
    """The chat template's arguments with which the target answered; None where nothing tells.

    Args:
        path: a dataset's folder, or a file in it, as a config names it.
    """
    place = Path(path).expanduser()
    for folder in (place, *place.parents[:2]):
        try:
            made = yaml.safe_load((folder / RESOLVED_CONFIG).read_text(encoding="utf-8"))
            target = made["target"]
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            continue
        found = target.get("chat_template_kwargs") if isinstance(target, Mapping) else None
        return dict(found) if isinstance(found, Mapping) else {}
    return None


def other_request(view: ChatView, arguments: Mapping[str, Any], request: Sequence[Message]) -> bool:
    """Whether a request is another one with these arguments of the chat template."""
    made = ChatView(view.tokenizer, arguments, view.rendering.source)
    try:
        return made.text(request, True) != view.text(request, True)
    except TemplateError:
        return False  # tokenizing the row says what is wrong
