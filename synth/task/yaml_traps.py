"""What YAML makes of a text that is not quoted, and where in the file it stands."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (dict, "a mapping, of key and value"),
    (list, "a list"),
    ((datetime.date, datetime.datetime), "a date"),
    (type(None), "nothing"),
)
# The beginning of a line before a text: the dash of a list, or a key.
BEFORE_TEXT = re.compile(r"\s*(?:-\s+|[A-Za-z_][\w.]*:\s+)?")


def misread_text(source: str, path: Sequence[str | int], value: Any) -> str | None:
    """Say how YAML read what should be a text, and how to quote it.

    Args:
        source: the YAML, whole.
        path: keys and places in lists that lead to the value.
        value: what YAML made of it.

    Returns:
        A sentence that begins with the line's number and shows the line; None if there is no such
        place in the source.
    """
    node = _node(source, path)
    if node is None:
        return None
    written = source[node.start_mark.index : node.end_mark.index].strip()
    kind = next((name for kinds, name in KINDS if isinstance(value, kinds)), type(value).__name__)
    line = source.split("\n")[node.start_mark.line].strip()
    where = f"line {node.start_mark.line + 1}: {_place(path)}"
    if not written:
        return f"{where} is empty: `{line}`. Write a text, or take it out."
    return f"{where} is not text: YAML reads `{line}` as {kind}. {quote_it(written)}"


def syntax_error(source: str, error: yaml.YAMLError) -> tuple[str, str]:
    """What is wrong with a YAML file, with the line; and what to do.

    Args:
        source: the YAML, whole.
        error: what its reader raised.
    """
    mark = getattr(error, "problem_mark", None)
    lines = source.split("\n")
    if mark is None or mark.line >= len(lines):
        return str(error), "Correct the file's YAML."
    problem = getattr(error, "problem", None) or "not YAML"
    line = lines[mark.line]
    text = BEFORE_TEXT.sub("", line, count=1).strip()
    cure = "Correct the file's YAML."
    if text and text[0] not in "'\"|>#":
        cure = f"If this is a text: {quote_it(text)}"
    return f"line {mark.line + 1}: {problem}: `{line.strip()}`", cure


def quote_it(text: str) -> str:
    """How to write a text so that YAML takes it for one."""
    if "\n" in text:
        return "Quote it, or write `|` and the text below it, indented."
    quoted = json.dumps(text, ensure_ascii=False) if "'" in text else f"'{text}'"
    return f"Quote it: {quoted}"


def cut_by_comment(source: str, path: Sequence[str | int]) -> list[tuple[int, str, str]]:
    """The texts of a list that YAML ends at a `#`: (number, from 1, the text, what is left out).

    Args:
        source: the YAML, whole.
        path: what leads to the list.
    """
    node = _node(source, path)
    found = []
    for number, item in enumerate(getattr(node, "value", ()), start=1):
        if isinstance(item, yaml.ScalarNode) and item.style is None:
            rest = source[item.end_mark.index :].partition("\n")[0].strip()
            if rest.startswith("#"):
                found.append((number, item.value, rest))
    return found


def _node(source: str, path: Sequence[str | int]) -> yaml.Node | None:
    try:
        node = yaml.compose(source, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part] if part < len(node.value) else None
        elif isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == part), None)
        else:
            return None
    return node


def _place(path: Sequence[str | int]) -> str:
    """`inputs.seeds`, number 4, for ("inputs", "seeds", 3)."""
    if path and isinstance(path[-1], int):
        what = "seed" if path[-2:-1] == ("seeds",) else "number"
        return f"`{'.'.join(map(str, path[:-1]))}`, {what} {path[-1] + 1},"
    return f"`{'.'.join(map(str, path))}`"
