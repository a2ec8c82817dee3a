"""Clauses that a user defines by excerpts of the prompt."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from genpi_plugin.data import roles
from genpi_plugin.data.messages import Message
from genpi_plugin.errors import GenPIError, RowError
from genpi_plugin.evaluation.sections.clauses.split import Part, Span, gaps, split, without


def parts_of(prompt: Sequence[Message], clause_file: Path | None) -> list[Part]:
    """Clauses and frame of a prompt: from the user's file, or without one from the prompt's layout.

    Raises:
        GenPIError: a clause file that can't be read or does not fit the prompt.
    """
    return (
        split_by_excerpts(prompt, read_clause_file(clause_file)) if clause_file else split(prompt)
    )


def read_clause_file(path: Path) -> dict[str, list[str]]:
    """A YAML mapping from a clause's name to its text in the prompt, or to several pieces of it.

    Raises:
        GenPIError: the file is not such a mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GenPIError(f"{path}: {error.strerror}.", "give a file of clauses.") from error
    except yaml.YAMLError as error:
        raise GenPIError(f"{path} is not YAML: {error}.", "see docs/clauses.md.") from error
    cure = "write `name: a piece of the prompt, letter for letter`, or a list of pieces."
    if not isinstance(raw, dict) or not raw:
        raise GenPIError(f"{path} is not a mapping of clauses.", cure)
    found = {}
    for name, pieces in raw.items():
        listed = [pieces] if isinstance(pieces, str) else pieces
        is_list = isinstance(listed, list) and bool(listed)
        if not is_list or not all(isinstance(piece, str) and piece.strip() for piece in listed):
            raise GenPIError(f"{path}: the clause {name!r} is {pieces!r}.", cure)
        found[str(name)] = listed
    return found


def split_by_excerpts(prompt: Sequence[Message], excerpts: dict[str, list[str]]) -> list[Part]:
    """The clauses that a user names by excerpts of the prompt; the rest of it is frame.

    Args:
        excerpts: name of a clause -> its pieces, each to be found once in the prompt.

    Raises:
        GenPIError: a piece that is not found or found twice, pieces that overlap, or a clause
            without which the roles of the prompt no longer alternate.
    """
    parts = [
        Part("marked", tuple(_find(prompt, name, piece) for piece in pieces), name)
        for name, pieces in excerpts.items()
    ]
    taken = sorted(
        ((span, part.name) for part in parts for span in part.spans),
        key=lambda item: (item[0].message, item[0].start),
    )
    for (left, first), (right, second) in itertools.pairwise(taken):
        if left.message == right.message and right.start < left.end:
            raise GenPIError(
                f"the clauses {first!r} and {second!r} overlap in the prompt.",
                "let every piece of the prompt belong to one clause.",
            )
    for part in parts:
        others = without(prompt, part)
        try:
            if others:
                roles.check_prompt(others, "prompt", "")
        except RowError:
            raise GenPIError(
                f"without the clause {part.name!r} the roles of the prompt no longer alternate: "
                f"{', '.join(message['role'] for message in others)}.",
                "a user's turn can only be removed with its answer: name both; results of tools "
                "need their call.",
            ) from None
    rest = [
        Part("frame", (Span(number, start, end),))
        for number, message in enumerate(prompt)
        for start, end in gaps(len(message["content"]), [s for s, _ in taken
                                                          if s.message == number])
    ]  # fmt: skip
    return sorted([*parts, *rest], key=lambda part: (part.spans[0].message, part.spans[0].start))


def _find(prompt: Sequence[Message], name: str, piece: str) -> Span:
    wanted = piece.strip()
    found = [
        Span(number, match.start(), match.end())
        for number, message in enumerate(prompt)
        for match in re.finditer(f"(?={re.escape(wanted)})", message["content"])
    ] if wanted else []  # fmt: skip
    if len(found) != 1:
        raise GenPIError(
            f"the clause {name!r}: {wanted[:60]!r} occurs {len(found)} times in the prompt.",
            "copy a piece of one message, letter for letter, long enough to occur once.",
        )
    return Span(found[0].message, found[0].start, found[0].start + len(wanted))
