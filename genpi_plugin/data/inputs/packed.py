"""JSON texts in the place of what they hold: tables, and loggers of bodies, write logs so."""

from __future__ import annotations

import json
from typing import Any

from genpi_plugin.data.messages import from_json
from genpi_plugin.errors import RowError


def unpacked(value: Any, name: str, where: str) -> Any:
    """What a key of a log holds; of a text, what its JSON says.

    Raises:
        RowError: it is a text, and not the JSON of a list or an object.
    """
    if not isinstance(value, str):
        return value
    if not is_packed(value):
        raise RowError(
            f"{where}: `{name}` is a text, and not the JSON of a log's messages or of its request.",
            "a text that the application sends stands in `input`; name another key that holds it "
            "with --input-column.",
        )
    return from_json(value, name, where)


def is_packed(text: str) -> bool:
    """Whether a text is the JSON of a list or an object."""
    try:
        return isinstance(json.loads(text), list | dict)
    except (ValueError, RecursionError):
        return False
