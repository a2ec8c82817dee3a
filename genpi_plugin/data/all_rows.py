"""All rows of a dataset, parsed: what `datasets` reads late is refused with its row, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genpi_plugin.data.rows import Row, parse
from genpi_plugin.errors import RowError


def parse_all(raw: Iterable[Mapping[str, Any]], name: str) -> list[Row]:
    """Parse rows in their order.

    Args:
        raw: the rows as `datasets` gives them.
        name: of the dataset, for messages.

    Raises:
        RowError: see `parse`; or a text is not UTF-8, which `datasets` notes when it is read.
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
    return rows
