"""A check, what it finds, and the line that is reported of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["passed", "missed", "failed", "measured", "skipped", "not run"]
# Those with which the command ends with status 1.
BAD: tuple[Verdict, ...] = ("missed", "failed")
LONGEST_REASON = 240


@dataclass(frozen=True)
class Machine:
    """Where checks run.

    Attributes:
        device: "cuda" or "cpu".
        deadline: seconds since the epoch at which no further check is started.
    """

    device: str
    deadline: float = math.inf

    @property
    def gpu(self) -> bool:
        return self.device == "cuda"


@dataclass(frozen=True)
class Finding:
    """What a check measured, and what there is to say of it."""

    value: float
    detail: str = ""


class Skipped(Exception):
    """The machine lacks what the check needs; the text says what, and how to get it."""


class TimeUp(Exception):
    """The check was stopped, because the time was up."""


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: what is checked; unique.
        run: measures it.
        unit: of the value.
        tolerance: what the value may be at most; None where it is only measured.
        at_least: the tolerance is what the value has to be at least.
    """

    name: str
    run: Callable[[Machine], Finding]
    unit: str = "difference"
    tolerance: float | None = None
    at_least: bool = False


@dataclass(frozen=True)
class Line:
    """What became of a check."""

    group: str
    name: str
    verdict: Verdict
    value: float | None = None
    unit: str = ""
    tolerance: float | None = None
    at_least: bool = False
    seconds: float = 0.0
    why: str = ""


def run_check(check: Check, group: str, machine: Machine) -> Line:
    """Run one check. Whatever it raises is its line, and never the end of the others."""
    started = time.monotonic()
    value: float | None = None
    try:
        finding = check.run(machine)
        value, why = finding.value, finding.detail
        verdict = judge(check, value)
    except Skipped as reason:
        verdict, why = "skipped", str(reason)
    except TimeUp as reason:
        verdict, why = "not run", str(reason)
    except Exception as error:  # of whatever library and driver
        verdict, why = "failed", first_line(error)
    # JSON has no word for what is no number.
    told = value if value is not None and math.isfinite(value) else None
    if value is not None and told is None:
        why = f"{value}; {why}"
    return Line(group, check.name, verdict, told, check.unit, check.tolerance, check.at_least,
                round(time.monotonic() - started, 2), why)  # fmt: skip


def judge(check: Check, value: float) -> Verdict:
    """Whether a value is within its check's tolerance; what is no number never is."""
    if check.tolerance is None:
        return "measured" if math.isfinite(value) else "missed"
    within = value >= check.tolerance if check.at_least else value <= check.tolerance
    return "passed" if within else "missed"


def first_line(error: BaseException) -> str:
    """The kind of an exception and the first line of its text."""
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line.strip()}"[:LONGEST_REASON]
