"""All rows of a dataset, parsed: what `datasets` reads late is refused with its row, too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genpi_plugin.data.rows import Row, parse
from genpi_plugin.data.slots import names_of
from genpi_plugin.errors import RowError

NAMED = 5  # so many rows are named; the rest is counted


def parse_all(raw: Iterable[Mapping[str, Any]], name: str) -> list[Row]:
    """Parse rows in their order.

    Args:
        raw: the rows as `datasets` gives them.
        name: of the dataset, for messages.

    Raises:
        RowError: see `parse`; a text is not UTF-8, which `datasets` notes when it is read; or a
            row has no values for slots that have some in other rows.
    """
    rows: list[Row] = []
    try:
        for index, one in enumerate(raw):
            rows.append(parse(one, f"{name}, row {index}"))
    except UnicodeDecodeError as error:
        shown = error.object[: error.end][-20:]
        raise RowError(
            f"{name}, row {len(rows)}: a text is not UTF-8: {shown!r} (byte "
            f"0x{error.object[error.start]:02x}).",
            "save the file as UTF-8; if it is in LATIN1: iconv -f LATIN1 -t UTF-8 FILE > NEW",
        ) from None
    _check_slots(rows)
    return rows


def _check_slots(rows: Sequence[Row]) -> None:
    """A prompt with slots has them in all its rows: its marks are no text in some of them.

    Raises:
        RowError: names the rows without values.
    """
    if not any(row.slots for row in rows):
        return
    without: dict[str, list[Row]] = {}
    filled: dict[str, Row] = {}
    for row in rows:
        key = json.dumps(row.prompt, sort_keys=True)
        if row.slots:
            filled.setdefault(key, row)
        else:
            without.setdefault(key, []).append(row)
    for key in filled.keys() & without.keys():
        its = without[key]
        names = ", ".join(f"`{name}`" for name in names_of(its[0].prompt))
        more = f" and {len(its) - NAMED} more" if len(its) > NAMED else ""
        raise RowError(
            f"{', '.join(row.where for row in its[:NAMED])}{more}: no `slots`, and other rows of "
            f"the prompt {its[0].prompt_id!r} have values for {names} ({filled[key].where}).",
            "add the values; a mark that is meant as it stands has itself as its value.",
        )
