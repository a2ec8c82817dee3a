"""Files that appear whole or not at all: a killed run leaves no half of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Make a file, and its folder; one that is there stays as it is until the new one is whole.

    Processes may write the same file concurrently.

    Args:
        write: writes the content to the path that it is given, beside the file's own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    write(unfinished)
    unfinished.replace(path)
