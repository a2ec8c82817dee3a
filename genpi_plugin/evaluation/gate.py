"""`--require internalization>=0.9`: prompt internalization as a check in a CI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import GenPIError
from .summary import STUDENT

REQUIREMENT = re.compile(r"(?P<name>[a-z_.]+)\s*(?P<sign>>=|<=)\s*(?P<limit>-?\d+(?:\.\d+)?)")
EXAMPLE = "--require 'internalization>=0.9' --require 'valid.retention>=0.95'"


@dataclass(frozen=True)
class Requirement:
    """A figure and the limit that its whole interval has to keep."""

    text: str
    name: str
    sign: str
    limit: float


def parse_requirement(text: str) -> Requirement:
    """Read `NAME>=NUMBER` or `NAME<=NUMBER`.

    Raises:
        GenPIError: it is something else.
    """
    match = REQUIREMENT.fullmatch(text.strip())
    if match is None:
        raise GenPIError(f"`--require {text}` can't be read.", f"write it like {EXAMPLE}.")
    return Requirement(text.strip(), match["name"], match["sign"], float(match["limit"]))


def known_figures(scores: Sequence[str], recitals: bool) -> set[str]:
    """Names that a requirement may have, with these task scores."""
    names = {"internalization", "kl_to_teacher", *scores}
    names |= {f"{score}.retention" for score in scores}
    return names | ({"recitation"} if recitals else set())


def check_names(requirements: Sequence[Requirement], known: set[str]) -> None:
    """Before anything is measured.

    Raises:
        GenPIError: a requirement of a figure that there will not be.
    """
    for requirement in requirements:
        if requirement.name not in known:
            raise GenPIError(
                f"`--require {requirement.text}`: there is no figure `{requirement.name}` in this "
                "evaluation.",
                f"the figures are {', '.join(sorted(known))} (those of a task's actions need its "
                "`action_pattern`, `recitation` needs `--recitals`).",
            )


def shortfalls(requirements: Sequence[Requirement], metrics: Mapping[str, Any]) -> list[str]:
    """What was required and not shown: a line for each requirement that is not met.

    A lower limit is met by the lower end of the interval, an upper limit by the upper end.
    """
    lines = []
    for requirement in requirements:
        figure = _figure(requirement.name, metrics)
        least = requirement.sign == ">="
        end = figure["ci_low" if least else "ci_high"]
        if end is None:
            lines.append(f"{requirement.text}: not defined here")
        elif (end < requirement.limit) if least else (end > requirement.limit):
            lines.append(
                f"{requirement.text}: {figure['value']:.3f} "
                f"[{figure['ci_low']:.3f}, {figure['ci_high']:.3f}]"
            )
    return lines


def _figure(name: str, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    if name == "internalization":
        found = metrics["internalization"]
    elif name == "recitation":
        found = metrics["recitation"]["chrf"]
    elif name.endswith(".retention"):
        found = metrics["retention"][name.removesuffix(".retention")]
    else:
        found = metrics["systems"][STUDENT][name]
    assert isinstance(found, Mapping)
    return found
