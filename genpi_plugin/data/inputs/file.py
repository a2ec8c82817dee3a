"""A file of inputs, taken apart: what stands in each line, or in each item of a JSON list."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpi_plugin.errors import GenPIError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
JSON = {".jsonl", ".ndjson", ".json"}
# Files that hold inputs in a form that is not read, and what to do.
WRITE_JSONL = 'Write the inputs as JSON Lines, each {"input": "what the application sends"}.'
OTHER_FORMS = {
    **dict.fromkeys((".yml", ".yaml", ".xml", ".arrow", ".feather", ".xls", ".xlsx", ".ods",
                     ".pdf", ".docx"), WRITE_JSONL),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz"), "Unpack it first."),
}  # fmt: skip
BOM = "\ufeff"


@dataclass(frozen=True)
class Item:
    """What stands at one place of a file: a text, or what JSON or a table holds there.

    `fault` says why it can't be read; `value` is then None.
    """

    number: int
    value: Any
    fault: str = ""


def items_of(path: Path) -> tuple[str, list[Item]]:
    """What a file of text or JSON holds, and what its numbers count ("line", "item").

    `.jsonl`, `.ndjson`, and `.json` in lines: a value a line. `.json`: also a list of values, or
    one object over several lines. Any other file of text: one text a line. White space around a
    text and byte order marks are no part of it, and lines without anything else are none.

    Raises:
        GenPIError: there is no such file, it is in a form that is not read, not in UTF-8, or a
            JSON list is broken.
    """
    suffix = path.suffix.lower()
    if suffix in OTHER_FORMS:
        raise GenPIError(
            f"The inputs file {path} is in a form that is not read ({suffix}).", OTHER_FORMS[suffix]
        )
    text = text_of(path)
    if suffix == ".json" and text.lstrip().startswith("["):
        return "item", [Item(n, value) for n, value in enumerate(_list(path, text), start=1)]
    if suffix == ".json" and (whole := _whole(text)) is not None:
        return "item", [Item(1, whole)]
    # Not `splitlines`, which parts a text at rarer characters, too.
    lines = [
        # A mark of the byte order stands where files were joined.
        (number, line.lstrip(BOM))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip().strip(BOM)
    ]
    if suffix in JSON:
        return "line", list(_json_lines(lines))
    return "line", [Item(number, line.strip()) for number, line in lines]


def not_utf8(path: Path, error: UnicodeDecodeError) -> tuple[str, str]:
    """Where a file is not in UTF-8, and how to convert it."""
    data = error.object
    line = data.count(b"\n", 0, error.start) + 1
    guess = "UTF-16" if data.startswith(UTF_16) else "LATIN1"
    return (
        f"line {line} is not UTF-8 (byte 0x{data[error.start]:02x})",
        f"Save it as UTF-8. If it is in {guess}: iconv -f {guess} -t UTF-8 {path.name} > NEW",
    )


def text_of(path: Path) -> str:
    """A file's text with `\\n` at the end of each line, without a byte order mark at its start.

    Raises:
        GenPIError: it can't be read, or is not in UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GenPIError(
            f"The inputs file {path} can't be read: {error.strerror or error}.",
            "Give the path of a file in UTF-8 (--inputs, --general).",
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        cause, cure = not_utf8(path, error)
        raise GenPIError(f"The inputs file {path} can't be read: {cause}.", cure) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _list(path: Path, text: str) -> list[Any]:
    try:
        found: list[Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "it"
        raise GenPIError(
            f"The inputs file {path} can't be read: {where} is not JSON ({_why(error)}).",
            'Correct it: a list of {"input": "what the application sends"}, or of logs.',
        ) from None
    return found


def _whole(text: str) -> Any:
    """The one object that a file is, over several lines; None if it is not."""
    if "\n" not in text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_lines(lines: list[tuple[int, str]]) -> Iterator[Item]:
    for number, line in lines:
        try:
            yield Item(number, json.loads(line))
        except (ValueError, RecursionError) as error:
            yield Item(number, None, f"not JSON ({_why(error)})")


def _why(error: Exception) -> str:
    """What is wrong with a JSON text; besides syntax that is a number or a depth beyond bounds."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return str(error).partition(";")[0]
