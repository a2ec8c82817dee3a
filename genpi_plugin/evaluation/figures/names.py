"""The systems of an evaluation by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genpi_plugin.errors import GenPIError

TEACHER, FLOOR, STUDENT = "teacher", "floor", "student"


def one_each(wanted: Sequence[str], sources: Sequence[str], taken: Sequence[str]) -> list[str]:
    """A name for each source, fit for a `--require`; refuses two of one name.

    Args:
        wanted: names of files or folders; other signs than letters, digits, - and _ become `_`.
        sources: where they come from, for messages.
        taken: names that are not free.

    Raises:
        GenPIError: a name that stands for two systems.
    """
    names = [re.sub(r"[^A-Za-z0-9_-]", "_", name) or "_" for name in wanted]
    for place, name in enumerate(names):
        if name in taken or name in names[:place]:
            raise GenPIError(
                f"{sources[place]} would be shown as `{name}`, and another system is called so.",
                "give it another name (of its folder, or its file).",
            )
    return names
