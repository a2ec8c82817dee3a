"""A file of inputs, taken apart: what stands in each line, or in each item of a JSON list."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpi_plugin.data.text import surrogate_fault
from genpi_plugin.errors import GenPIError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
JSON = {".jsonl", ".ndjson", ".json"}
# Files that hold inputs in a form that is not read, and what to do.
WRITE_JSONL = 'Write the inputs as JSON Lines, each {"input": "what the application sends"}.'
OTHER_FORMS = {
    **dict.fromkeys((".csv", ".tsv", ".yml", ".yaml", ".xml", ".parquet", ".arrow", ".xls",
                     ".xlsx", ".ods", ".pdf", ".docx"), WRITE_JSONL),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz"), "Unpack it first."),
}  # fmt: skip
BOM = "\ufeff"


@dataclass(frozen=True)
class Item:
    """One input: the text as it is, or what is wrong with it; the keys beside it."""

    number: int
    text: str
    fault: str = ""
    keys: frozenset[str] = frozenset()


def items_of(path: Path) -> tuple[str, list[Item]]:
    """What a file holds, and what its numbers count ("line", "item").

    `.jsonl`, `.ndjson`, and `.json` in lines: one object with `input`, or one string, a line.
    `.json`: also a list of them. Any other file of text: one input a line. White space around an
    input and byte order marks are no part of it, and lines without anything else are none.

    Raises:
        GenPIError: there is no such file, it is in a form that is not read, not in UTF-8, or a
            JSON list is broken.
    """
    suffix = path.suffix.lower()
    if suffix in OTHER_FORMS:
        raise GenPIError(
            f"The inputs file {path} is in a form that is not read ({suffix}).", OTHER_FORMS[suffix]
        )
    text = _text_of(path)
    if suffix == ".json" and text.lstrip().startswith("["):
        return "item", [_item(n, value) for n, value in enumerate(_list(path, text), start=1)]
    if suffix == ".json" and (whole := _whole(text)) is not None:
        return "item", [_item(1, whole)]
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


def is_json_input(line: str) -> bool:
    """Whether a line is a JSON object with `input`, as in a .jsonl file."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "input" in value


def _text_of(path: Path) -> str:
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
            'Correct it: a list of {"input": "what the application sends"}.',
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
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Item(number, "", f"not JSON ({_why(error)})")
        else:
            yield _item(number, value)


def _why(error: Exception) -> str:
    """What is wrong with a JSON text; besides syntax that is a number or a depth beyond bounds."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return str(error).partition(";")[0]


def _item(number: int, value: Any) -> Item:
    text: Any = value
    keys = frozenset[str]()
    if isinstance(value, dict) and "input" in value:
        text, keys = value["input"], frozenset(value) - {"input"}
    elif isinstance(value, list):
        return Item(number, "", "a list, not an object with `input`")
    elif not isinstance(value, str):
        named = f"; its keys are {', '.join(value)}" if isinstance(value, dict) and value else ""
        return Item(number, "", f"no `input`{named}")
    if not isinstance(text, str):
        return Item(number, "", f"`input` is not a text but {type(text).__name__}")
    text = text.strip().lstrip(BOM)
    if not text.strip():
        return Item(number, "", "`input` is empty")
    if half := surrogate_fault(text):
        return Item(number, "", f"`input` holds {half}")
    return Item(number, text.strip(), "", keys)
