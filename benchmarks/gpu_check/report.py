"""What the checks came to: a table for the terminal, a file for whoever wants to compare."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.gpu_check.checks import BAD, Line, Machine

COLOURS = {"passed": "green", "missed": "red", "failed": "red", "skipped": "yellow",
           "not run": "yellow", "measured": "cyan"}  # fmt: skip


def as_json(
    lines: Sequence[Line], machine: Machine, card: dict[str, Any], versions: dict[str, str],
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """What the file holds."""
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": machine.device,
        "card": card,
        "versions": versions,
        "seconds": round(seconds, 1),
        "verdicts": dict(Counter(line.verdict for line in lines)),
        "lines": [asdict(line) for line in lines],
    }


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the file, its folder with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def show(console: Console, lines: Sequence[Line]) -> None:
    """The table."""
    table = Table(pad_edge=False)
    for name in ("check", "verdict", "value", "allowed", "s", "why"):
        table.add_column(name, justify="right" if name in ("value", "allowed", "s") else "left",
                         overflow="fold")  # fmt: skip
    group = ""
    for line, more in merged(lines):
        if line.group != group:
            table.add_section()
        group = line.group
        name = f"{line.name}, and {more} more" if more else line.name
        table.add_row(escape(name), f"[{COLOURS[line.verdict]}]{line.verdict}[/]", _value(line),
                      _allowed(line), f"{line.seconds:.1f}" if line.seconds >= 0.05 else "",
                      escape(line.why))  # fmt: skip
    console.print(table)


def merged(lines: Sequence[Line]) -> list[tuple[Line, int]]:
    """Lines, and how many more of their group were left out for the same reason; these once."""
    found: dict[object, tuple[Line, int]] = {}
    for place, line in enumerate(lines):
        left_out = line.verdict in ("skipped", "not run")
        key = (line.group, line.verdict, line.why) if left_out else place
        found[key] = (found[key][0], found[key][1] + 1) if key in found else (line, 0)
    return list(found.values())


def summary(lines: Sequence[Line]) -> str:
    """How many of each verdict, in one line."""
    counts = Counter(line.verdict for line in lines)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in COLOURS if counts[verdict])


def status(lines: Sequence[Line]) -> int:
    """1 where a tolerance is missed or a check failed, else 0."""
    return int(any(line.verdict in BAD for line in lines))


def _value(line: Line) -> str:
    return "" if line.value is None else f"{line.value:.3g} {line.unit}".rstrip()


def _allowed(line: Line) -> str:
    if line.tolerance is None:
        return ""
    return f"{'≥' if line.at_least else '≤'} {line.tolerance:g}"
