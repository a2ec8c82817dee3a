"""Values as literals of Jinja: what they are read back as is what was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Escapes that every engine of Jinja templates knows; all other characters stand for themselves.
ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
CONSTANTS = {None: "none", True: "true", False: "false"}


def literal(value: Any) -> str:
    """A value as JSON has it, written for a Jinja template.

    Raises:
        TypeError: a value of another type.
    """
    if isinstance(value, str):
        return f"'{value.translate(ESCAPES)}'"
    if value is None or isinstance(value, bool):
        return CONSTANTS[value]
    if isinstance(value, int | float):
        return json.dumps(value, allow_nan=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{literal(str(k))}: {literal(v)}' for k, v in value.items())}}}"
    raise TypeError(f"a {type(value).__name__} is no JSON")
