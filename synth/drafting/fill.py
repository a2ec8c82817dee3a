"""Drafted values into the scaffold of task.yml, each with a comment on where it comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from synth.task.config import TaskConfig

MARK = "CHANGE: "
WIDTH = 100


@dataclass(frozen=True)
class Drafted:
    """A value for a key of task.yml.

    Attributes:
        key: with dots.
        parts: (where it comes from, value); of a list, or of a mapping of lists, several parts.
    """

    key: str
    parts: tuple[tuple[str, Any], ...]

    @property
    def value(self) -> Any:
        """The whole value."""
        first = self.parts[0][1]
        if isinstance(first, list):
            return [text for _, texts in self.parts for text in texts]
        if isinstance(first, dict):
            return {name: texts for _, lists in self.parts for name, texts in lists.items()}
        return first

    @property
    def sources(self) -> str:
        """Where it comes from, all parts together."""
        return "; ".join(dict.fromkeys(source for source, _ in self.parts))


def filled(text: str, drafted: Sequence[Drafted]) -> tuple[str, list[Drafted]]:
    """A task.yml with the values that it takes.

    Args:
        text: the scaffold, whole and valid.
        drafted: the values; a key that the scaffold does not have is not taken.

    Returns:
        The text, and what was not taken: with it the file would not be valid, or would not say
        the same.
    """
    refused = []
    for one in drafted:
        changed = _with_value(text, one)
        if changed is not None and _says(changed, one):
            text = changed
        else:
            refused.append(one)
    return text, refused


def remarked(text: str, key: str, remark: str) -> str:
    """A task.yml with a comment line above a key."""
    place = _place(text, key)
    if place is None:
        return text
    lines = text.split("\n")
    lines[place.line : place.line] = [f"{' ' * place.indent}# {remark}"]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Place:
    """Where a key stands: its first line, the line behind its value's last, how far it is in, and
    the comment behind the value."""

    line: int
    after: int
    indent: int
    comment: str


def _place(text: str, key: str) -> _Place | None:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    found = None
    for name in key.split("."):
        if not isinstance(node, yaml.MappingNode):
            return None
        found = next((pair for pair in node.value if pair[0].value == name), None)
        if found is None:
            return None
        node = found[1]
    if found is None or node is None:
        return None
    start, end = found[0].start_mark, node.end_mark
    rest = text[end.index :].partition("\n")[0].strip()
    return _Place(start.line, end.line + 1, start.column, rest.removeprefix("#").strip())


def _with_value(text: str, drafted: Drafted) -> str | None:
    place = _place(text, drafted.key)
    if place is None or place.after > place.line + 1:  # the scaffold's values stand on a line
        return None
    name, pad = drafted.key.rpartition(".")[2], " " * place.indent
    comment = place.comment.removeprefix(MARK)
    value = drafted.value
    if isinstance(value, list | dict):
        lines = [f"{pad}{name}:" + (f"  # {comment}" if comment else "")]
        lines += [line for part in drafted.parts for line in _part(part, place.indent + 2)]
    else:
        said = _scalar(value, place.indent + 2)
        lines = [f"{pad}# {drafted.sources}", f"{pad}{name}: {said}"]
        if comment and len(lines[-1]) + len(comment) + 4 <= WIDTH and "\n" not in said:
            lines[-1] += f"  # {comment}"
        elif comment:
            lines.insert(0, f"{pad}# {comment}")
    before = text.split("\n")
    return "\n".join([*before[: place.line], *lines, *before[place.after :]])


def _part(part: tuple[str, Any], indent: int) -> list[str]:
    source, value = part
    pad = " " * indent
    lines = [f"{pad}# {source}"]
    if isinstance(value, dict):
        for name, texts in value.items():
            lines += [f"{pad}{name}:", *(f"{pad}  - {_scalar(one, indent + 4)}" for one in texts)]
        return lines
    return [*lines, *(f"{pad}- {_scalar(one, indent + 2)}" for one in value)]


def _scalar(text: str, indent: int) -> str:
    """A text as YAML, behind a key or a dash; several lines as a block where that is the same."""
    if "\n" in text:
        pad = " " * indent
        block = "|-\n" + "\n".join(pad + line if line else "" for line in text.split("\n"))
        if _loads(f"- {block}") == text:
            return block
        return json.dumps(text)
    dumped = yaml.safe_dump([text], width=10**9, allow_unicode=True)[2:].rstrip("\n")
    return dumped if "\n" not in dumped else json.dumps(text)


def _loads(item: str) -> Any:
    try:
        [value] = yaml.safe_load(item)
    except yaml.YAMLError:
        return None
    return value


def _says(text: str, drafted: Drafted) -> bool:
    """Whether a task.yml is valid and has the value."""
    try:
        data = yaml.safe_load(text)
        TaskConfig.model_validate(data)
        for name in drafted.key.split("."):
            data = data[name]
    except (yaml.YAMLError, ValidationError, TypeError, KeyError):
        return False
    return bool(data == drafted.value)
