"""What an adapter has internalized: the prompts of its manifest, read from the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpi_plugin.data.kept import form_of
from genpi_plugin.data.prepared import describe_prompt
from genpi_plugin.data.roles import INSTRUCTIONS
from genpi_plugin.data.rows import Row
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.inputs import training_rows
from genpi_plugin.serving.patterns import Internalized
from genpi_plugin.training.manifest import MANIFEST_FILE, read_manifest


@dataclass(frozen=True)
class Learned:
    """The prompts, the rows of them, and what was not found, a sentence each."""

    internalized: list[Internalized]
    rows: list[Row]
    notes: list[str]


def learned(cfg: Mapping[str, Any], adapter: Path) -> Learned:
    """Read the prompts of an adapter's manifest from the datasets of a config.

    Raises:
        GenPIError: there is no manifest, the datasets can't be read, or they hold none of its
            prompts.
    """
    manifest = read_manifest(adapter)
    if manifest is None:
        raise GenPIError(
            f"{adapter} holds no {MANIFEST_FILE}, which says what was internalized.",
            "train first, or name the adapter's folder with `--adapter`.",
        )
    wanted = {one["sha256"]: one for one in manifest.get("prompts") or []}
    found: dict[str, list[Row]] = {}
    for row in training_rows(cfg):
        mark = describe_prompt(row.prompt_id, row.prompt, row.tools)["sha256"]
        if mark in wanted:
            found.setdefault(mark, []).append(row)
    paths = ", ".join(dict.fromkeys(str(entry["path"]) for entry in cfg["datasets"]))
    if not found:
        names = ", ".join(str(one["prompt_id"]) for one in wanted.values()) or "none"
        raise GenPIError(
            f"{paths} holds none of the prompts in the manifest of {adapter} ({names}).",
            "the manifest has no texts: give the config and the dataset that the adapter was "
            "trained with.",
        )
    notes = [
        f"the prompt {one['prompt_id']!r} in the manifest of {adapter} is not in {paths}: requests "
        "with it keep it."
        for mark, one in wanted.items()
        if mark not in found
    ]
    rows = [row for its in found.values() for row in its]
    return Learned([_internalized(its) for its in found.values()], rows, notes)


def _internalized(rows: Sequence[Row]) -> Internalized:
    """The prompt of rows that all have it, with the form in which they say its slots' values."""
    first = rows[0]
    kept = form_of([(row.kept, row.slots) for row in rows]) if first.slots else ()
    return Internalized(first.prompt_id, first.prompt, first.tools, list(first.slots), kept)


def check_any_system(rows: list[Row]) -> None:
    """No row's own request begins with an instruction, which would be left out, too.

    Raises:
        GenPIError: one does.
    """
    for row in rows:
        if row.student_request[0]["role"] in INSTRUCTIONS:
            raise GenPIError(
                f"{row.where}: the student's request begins with a system message, which "
                "`--any-system` would leave out.",
                "leave `--any-system` out: the prompt is then known by its text.",
            )
