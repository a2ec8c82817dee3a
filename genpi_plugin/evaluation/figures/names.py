"""The systems of an evaluation by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genpi_plugin.errors import GenPIError

TEACHER, FLOOR, STUDENT = "teacher", "floor", "student"
# The figures along a system's own answers.
OWN_PATH = ("own_path", "kl_own_path", "kl_own_path_reverse", "answer_tokens")


def unique_names(wanted: Sequence[str], sources: Sequence[str], taken: Sequence[str]) -> list[str]:
    """A name for each source that `--require` can use; refuses duplicates.

    Args:
        wanted: names of files or folders; characters other than letters, digits, - and _ become
            `_`.
        sources: where they come from, for messages.
        taken: names that are already in use.

    Raises:
        GenPIError: two systems would have the same name.
    """
    names = [re.sub(r"[^A-Za-z0-9_-]", "_", name) or "_" for name in wanted]
    for place, name in enumerate(names):
        if name in taken or name in names[:place]:
            raise GenPIError(
                f"{sources[place]} would be called `{name}`, which is the name of another system.",
                "rename its folder or file.",
            )
    return names
