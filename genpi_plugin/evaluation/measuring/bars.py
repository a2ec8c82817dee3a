"""Progress bars on a terminal; plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def bars(console: Console) -> Iterator[Callable[[str, int], Any]]:
    """Gives `progress(label, total)`: a context manager that gives `advance(n)`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console) as display:

        @contextlib.contextmanager
        def bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
            task = display.add_task(label, total=total)
            yield lambda count: display.advance(task, count)
            if total and not console.is_terminal:
                console.print(f"{label}: {total} done")

        yield bar
