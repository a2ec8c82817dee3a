"""What to set where a chat template does not do: found by trying it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from typing import Any

from genpi_plugin.data.templates import shipped, variables

# Switches of thinking models, as their templates name them.
SWITCHES = ("enable_thinking", "thinking", "reasoning")
NAMED = 2


def find(
    source: str, kwargs: Mapping[str, Any], works: Callable[[str, dict[str, Any]], bool]
) -> str:
    """Settings under which the rendering that failed works, as lines of YAML; "" if there are none.

    Of templates come those first that a YAML can name, and the most similar ones.

    Args:
        source: the template that failed.
        kwargs: the `chat_template_kwargs` it failed with.
        works: tries the same with another template or other arguments.
    """
    for name in SWITCHES:
        for switch in (False, True):
            turned = {**kwargs, name: switch}
            known = name in variables(source) and kwargs.get(name) is not switch
            if known and works(source, turned):
                said = json.dumps(switch)
                return (
                    f"`chat_template_kwargs: {{{name}: {said}}}` (serve the adapter with it, too)"
                )
    sources = {line: path.read_text("utf-8") for line, path in shipped().items()}
    others = [line for line, other in sources.items() if works(other, {})]
    others.sort(
        key=lambda line: (
            not line.startswith("chat_template:"),
            -SequenceMatcher(None, source, sources[line]).quick_ratio(),
        )
    )
    return ", ".join(f"`{line}`" for line in others[:NAMED])
