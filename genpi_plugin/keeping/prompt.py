"""The prompt of the training rows, noted beside their tokens, for `genpi.keep: teacher`.

The teacher reads it before requests that no row holds. Where it has slots, these take the values
of the rows in turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genpi_plugin.data.messages import Message
from genpi_plugin.data.prepared import is_trained_on, notes_prompt
from genpi_plugin.data.requests import Input, Valued, under, with_values_of
from genpi_plugin.data.rows import Row
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import ConfigError, GenPIError

PROMPT_FILE = "genpi_keep_prompt.json"
# Rows whose values are noted.
MOST_VALUES = 200


@dataclass(frozen=True)
class KeepPrompt:
    """One prompt with its tools, and what rows have in its slots: `kept` and `values` of each."""

    prompt_id: str
    prompt: list[Message]
    tools: list[Tool]
    valued: list[dict[str, Any]] = field(default_factory=list)

    def asked(self, number: int, messages: list[Message]) -> Input:
        """A request, with the values of a row where the prompt has slots."""
        if not self.valued:
            return messages
        row = self.valued[number % len(self.valued)]
        return with_values_of(Valued(row["kept"], [], row["values"]), messages)

    def student_request(self, number: int, messages: list[Message]) -> list[Message]:
        return under([], self.asked(number, messages))

    def teacher_request(self, number: int, messages: list[Message]) -> list[Message]:
        return under(self.prompt, self.asked(number, messages))


def is_noted(cfg: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether a dataset's prompt is to be noted: its rows are trained on, and not only evaluated,
    and a teacher reads it before requests to keep.

    Args:
        cfg: the axolotl config, its `genpi:` block checked.
        entry: of `datasets` or `test_datasets`; empty where axolotl names none.
    """
    return notes_prompt(cfg["genpi"]) and is_trained_on(cfg, entry)


def record_prompt(folder: str, rows: Sequence[Row]) -> None:
    """Note the prompt of training rows, together with what other datasets have noted.

    Args:
        folder: of the prepared data.

    Raises:
        ConfigError: the rows have several prompts.
    """
    path = Path(folder) / PROMPT_FILE
    known = [_read(path)] if path.is_file() else []
    noted = {(one.prompt_id, _mark(one)): one for one in [*known, *map(_of_row, rows)]}
    if len(noted) > 1:
        names = ", ".join(sorted({name for name, _ in noted}))
        raise ConfigError(
            f"`genpi.keep: teacher` needs one prompt, and the datasets hold rows of {len(noted)} "
            f"({names}): which of them would a request have that none of them is about?",
            "set `keep: floor`, or train an adapter for each prompt.",
        )
    [one] = noted.values()
    valued = [{"kept": row.kept, "values": row.slots} for row in rows if row.slots]
    kept = [*(known[0].valued if known else []), *valued]
    distinct = list({json.dumps(each, sort_keys=True): each for each in kept}.values())
    content = {**vars(one), "valued": distinct[:MOST_VALUES]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def recorded_prompt(folder: str) -> KeepPrompt:
    """What `record_prompt` noted.

    Raises:
        GenPIError: nothing.
    """
    path = Path(folder) / PROMPT_FILE
    if not path.is_file():
        raise GenPIError(
            f"{folder} holds tokens of rows, and not their prompt, which `genpi.keep: teacher` "
            f"needs ({PROMPT_FILE}).",
            "remove the folder: it is made anew.",
        )
    return _read(path)


def _of_row(row: Row) -> KeepPrompt:
    return KeepPrompt(row.prompt_id, row.prompt, row.tools)


def _mark(one: KeepPrompt) -> str:
    return json.dumps([one.prompt, one.tools], sort_keys=True)


def _read(path: Path) -> KeepPrompt:
    return KeepPrompt(**json.loads(path.read_text(encoding="utf-8")))
