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
    `.json`: also a list of them. Any other file: one input a line. White space around an input is
    no part of it, and lines without anything else are none.

    Raises:
        GenPIError: there is no such file, it is not in UTF-8, or a JSON list is broken.
    """
    text = _text_of(path)
    suffix = path.suffix.lower()
    if suffix == ".json" and text.lstrip().startswith("["):
        return "item", [_item(n, value) for n, value in enumerate(_list(path, text), start=1)]
    if suffix == ".json" and (whole := _whole(text)) is not None:
        return "item", [_item(1, whole)]
    # Not `splitlines`, which parts a text at rarer characters, too.
    lines = [
        (number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()
    ]
    if suffix in {".jsonl", ".ndjson", ".json"}:
        return "line", list(_json_lines(lines))
    return "line", [Item(number, line.strip()) for number, line in lines]


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
        line = data.count(b"\n", 0, error.start) + 1
        guess = "UTF-16" if data.startswith(UTF_16) else "LATIN1"
        raise GenPIError(
            f"The inputs file {path} can't be read: line {line} is not UTF-8 (byte "
            f"0x{data[error.start]:02x}).",
            f"Save it as UTF-8. If it is in {guess}: iconv -f {guess} -t UTF-8 {path.name} > NEW",
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _list(path: Path, text: str) -> list[Any]:
    try:
        found: list[Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise GenPIError(
            f"The inputs file {path} can't be read: line {error.lineno} is not JSON ({error.msg}, "
            f"column {error.colno}).",
            'Correct it: a list of {"input": "what the application sends"}.',
        ) from None
    return found


def _whole(text: str) -> Any:
    """The one object that a file is, over several lines; None if it is not."""
    if "\n" not in text.strip():
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _json_lines(lines: list[tuple[int, str]]) -> Iterator[Item]:
    for number, line in lines:
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield Item(number, "", f"not JSON ({error.msg}, column {error.colno})")
        else:
            yield _item(number, value)


def _item(number: int, value: Any) -> Item:
    text, keys = value, frozenset[str]()
    if isinstance(value, dict) and "input" in value:
        text, keys = value["input"], frozenset(value) - {"input"}
    elif not isinstance(value, str):
        return Item(number, "", "no `input`")
    if not isinstance(text, str):
        return Item(number, "", f"`input` is not a text but {type(text).__name__}")
    if not text.strip():
        return Item(number, "", "`input` is empty")
    if any("\ud800" <= character <= "\udfff" for character in text):
        return Item(number, "", "`input` holds half of a character (a lone surrogate)")
    return Item(number, text.strip(), "", keys)
