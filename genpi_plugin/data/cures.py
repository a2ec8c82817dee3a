"""What to set where a chat template does not do: found by trying it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genpi_plugin.data.templates import shipped, variables

# Switches of thinking models, as their templates name them.
SWITCHES = ("enable_thinking", "thinking", "reasoning")
NAMED = 2


def find(
    source: str, kwargs: Mapping[str, Any], works: Callable[[str, dict[str, Any]], bool]
) -> str:
    """Settings under which the rendering that failed works, as lines of YAML; "" if there are none.

    Args:
        source: the template that failed.
        kwargs: the `chat_template_kwargs` it failed with.
        works: tries the same with another template or other arguments.
    """
    for name in SWITCHES:
        off = {**kwargs, name: False}
        if kwargs.get(name) is not False and name in variables(source) and works(source, off):
            return f"`chat_template_kwargs: {{{name}: false}}` (serve the adapter with it, too)"
    others = [line for line, path in shipped().items() if works(path.read_text("utf-8"), {})]
    return ", ".join(f"`{line}`" for line in others[:NAMED])
