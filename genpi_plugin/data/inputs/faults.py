"""What of a file can't be used, said so that it can be found and mended."""

from __future__ import annotations

from collections.abc import Sequence

from genpi_plugin.data.inputs.collected import Collected
from genpi_plugin.data.inputs.own_prompt import CURE
from genpi_plugin.errors import GenPIError

NAMED = 10  # so many line numbers are named; the rest is counted
DIFFERENCES = 3  # so many ways in which prompts differ are shown
CURES = 3


def refuse(found: Collected) -> None:
    """Refuse a file that holds what is no input, or logs of another prompt.

    Raises:
        GenPIError: names the places.
    """
    path, unit = found.path, found.unit
    if found.faults:
        cures = dict.fromkeys(cure for _, cure in found.faults if cure)
        said = " ".join(cure[0].upper() + cure[1:].rstrip(".") + "." for cure in [*cures][:CURES])
        raise GenPIError(
            f"{path} has {len(found.faults)} {unit}s that are not inputs:"
            f"{listed([fault for fault, _ in found.faults])}",
            f"{said} Correct them or take them out.".strip(),
        )
    if found.others:
        count = sum(map(len, found.others.values()))
        shown = [
            f"{unit} {', '.join(places[:NAMED])}"
            + (f" and {len(places) - NAMED} more" if len(places) > NAMED else "")
            + f": {difference}"
            for difference, places in [*found.others.items()][:DIFFERENCES]
        ]
        more = len(found.others) - len(shown)
        raise GenPIError(
            f"{path}: {count} of {found.logs} logs do not have the task's prompt and tools:\n  "
            + "\n  ".join(shown)
            + (f"\n  and {more} other differences" if more else ""),
            CURE,
        )


def listed(faults: Sequence[str]) -> str:
    """Faults below each other, the first few of them; the rest is counted."""
    more = f"\n  and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return "\n  " + "\n  ".join(faults[:NAMED]) + more
