"""`--require internalization>=0.9`: prompt internalization as a CI check."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.names import OWN_PATH

REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+?)\s*(?P<sign>>=|<=)\s*(?P<limit>-?\d+(?:\.\d+)?)"
)
EXAMPLE = "--require 'internalization>=0.9' --require 'valid.retention>=0.95'"
# The keys by which a path names an entry of a list.
ENTRY_KEYS = ("turn", "step", "number", "name")


@dataclass(frozen=True)
class Requirement:
    """A figure and the limit that its whole interval has to meet."""

    text: str
    name: str
    sign: str
    limit: float


def parse_requirement(text: str) -> Requirement:
    """Read `NAME>=NUMBER` or `NAME<=NUMBER`.

    Raises:
        GenPIError: the text has another form.
    """
    match = REQUIREMENT.fullmatch(text.strip())
    if match is None:
        raise GenPIError(f"`--require {text}` can't be read.", f"write it like {EXAMPLE}.")
    return Requirement(text.strip(), match["name"], match["sign"], float(match["limit"]))


def known_figures(
    scores: Sequence[str], students: Sequence[str], systems: Sequence[str], sections: Iterable[str]
) -> set[str]:
    """Names that a requirement may use; one that ends in `.` is a prefix of names.

    Args:
        scores: names of the task scores.
        students, systems: names of the students, and of all systems.
        sections: the sections that will be measured.
    """
    sections = set(sections)
    plain = ("internalization", "kl_to_teacher", *OWN_PATH, *scores)
    names = {*plain, *(f"{score}.retention" for score in scores)}
    for student in students:
        names |= {f"students.{student}.{figure}" for figure in ("internalization", "own_path")}
        names |= {f"students.{student}.retention.{score}" for score in scores}
    for system in systems:
        names |= {f"systems.{system}.{figure}" for figure in plain}
    names |= {f"{section}." for section in (*sections, "cost", "retention")}
    return names | ({"recitation"} & sections)


def check_names(requirements: Sequence[Requirement], known: set[str]) -> None:
    """Check requirements before anything is measured.

    Raises:
        GenPIError: a requirement names a figure that this evaluation does not have.
    """
    starts = tuple(name for name in known if name.endswith("."))
    for requirement in requirements:
        if requirement.name not in known and not requirement.name.startswith(starts):
            shown = sorted(name for name in known if name not in starts)
            raise GenPIError(
                f"`--require {requirement.text}`: there is no figure `{requirement.name}` in this "
                "evaluation.",
                f"the figures are {', '.join(shown)}, and, by path in `metrics.json`, those under "
                f"{', '.join(sorted(start[:-1] for start in starts))} (scores of actions need the "
                "task's `action_pattern`, and a section must not be skipped).",
            )


def shortfalls(requirements: Sequence[Requirement], metrics: Mapping[str, Any]) -> list[str]:
    """A line for each requirement that is not met.

    A lower limit is met by the lower end of the interval, an upper limit by the upper end. A
    figure without an interval (a count, a size) is compared with the limit itself.
    """
    lines = []
    for requirement in requirements:
        figure = _figure(requirement.name, metrics)
        least = requirement.sign == ">="
        if figure is None:
            lines.append(f"{requirement.text}: metrics.json has no such figure")
            continue
        end = figure["ci_low" if least else "ci_high"]
        if end is None:
            lines.append(f"{requirement.text}: not defined here")
        elif (end < requirement.limit) if least else (end > requirement.limit):
            lines.append(
                f"{requirement.text}: {figure['value']:.3f} "
                f"[{figure['ci_low']:.3f}, {figure['ci_high']:.3f}]"
            )
    return lines


def _figure(name: str, metrics: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The figure as an interval; None when there is no such figure."""
    first = next(iter(metrics.get("students") or {"student": None}))
    if name == "recitation":
        path = "recitation.chrf"
    elif name.endswith(".retention") and "." not in name.removesuffix(".retention"):
        path = f"retention.{name.removesuffix('.retention')}"
    elif "." in name or name == "internalization":
        path = name
    else:
        path = f"systems.{first}.{name}"
    return _as_interval(_walk(metrics, path.split(".")))


def _walk(here: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(here, Mapping):
            here = here.get(part)
        elif isinstance(here, list):
            here = next((entry for entry in here if _is_called(entry, part)), None)
        else:
            return None
    return here


def _is_called(entry: Any, name: str) -> bool:
    return isinstance(entry, Mapping) and any(str(entry.get(key)) == name for key in ENTRY_KEYS)


def _as_interval(found: Any) -> Mapping[str, Any] | None:
    if isinstance(found, Mapping) and "ci_low" in found:
        return found
    if isinstance(found, int | float):  # yes and no count as 1 and 0
        return {"value": float(found), "ci_low": float(found), "ci_high": float(found)}
    return None
