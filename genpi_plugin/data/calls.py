"""Calls of tools in an answer's text, in the forms that chat templates have for them.

JSON objects with a name and arguments (Hermes, Qwen, Llama, Mistral, Granite, Phi, Jamba, Cohere),
a name before JSON (Mistral 3, DeepSeek, Kimi, gpt-oss), `<function=...>` with `<parameter=...>`
(Qwen 3 Coder, Qwen 3.5, Nemotron 3), `<invoke name=...>` (MiniMax), `<arg_key>` and `<arg_value>`
(GLM), `call:name{...}` (Gemma 4), a list of calls as Python writes them (LFM 2, Llama 4).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from genpi_plugin.data.arguments import Arguments, Reader, in_tags, json_at, properties
from genpi_plugin.data.tools import Tool

NAME = r"[A-Za-z_][\w.-]*"
# What stands around calls and is no text.
MARKS = (
    r"</?(?:\w+:)?tool_calls?>|<\|/?tool_calls?\|?>|<tool_call\|>|\[/?TOOL_CALLS\]|<\|tool_response>"
    r"|<\|python_(?:tag|start|end)\|>|<\|(?:START|END)_ACTION\|>|<\|tool_call_(?:start|end)\|>"
    r"|<｜tool▁calls?▁(?:begin|end)｜>|<\|tool_calls_section_(?:begin|end)\|>|<\|call\|>"
)
MARK = re.compile(MARKS)
# What begins a call that was not read, or a list of them.
BROKEN = re.compile(
    r"</?(?:\w+:)?tool_calls?>|<\|tool_calls?\|?>|\[TOOL_CALLS\]|<\|python_tag\|>|<\|START_ACTION\|>"
    r"|<\|tool_call(?:_start|_begin|s_section_begin)\|>|<｜tool▁calls?▁begin｜>|<function="
    r"|<invoke name=|to=functions\."
)
# JSON without a mark that begins as a call does.
OBJECT = re.compile(r"\A\s*\[?\s*(\{\s*\"(?:name|tool_name|function)\"\s*:)")
FUNCTION = re.compile(rf"<function=({NAME})>(.*?)</function>", re.DOTALL)
PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
INVOKE = re.compile(rf'<invoke name="({NAME})">(.*?)</invoke>', re.DOTALL)
NAMED = re.compile(r'<parameter name="([^"]+)">(.*?)</parameter>', re.DOTALL)
TAGGED = re.compile(r"<tool_call>\s*([^\s<{]+)\s*((?:<arg_key>.*?)?)</tool_call>", re.DOTALL)
TAGS = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
GEMMA = re.compile(rf"\bcall:({NAME})(\{{.*?\}})(?=<tool_call\||call:|\s*\Z)", re.DOTALL)
# A call's name, and behind it the JSON of its arguments.
HEADS = tuple(
    re.compile(head)
    for head in (
        rf"\[TOOL_CALLS\]\s*(?P<name>{NAME})(?:\[CALL_ID\](?P<id>\w+))?\s*(?:\[ARGS\])?\s*(?=\{{)",
        rf"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?(?P<name>{NAME})"
        r"(?:<｜tool▁sep｜>)?\s*(?:```json)?\s*(?=\{)",
        rf"<\|tool_call_begin\|>\s*(?P<id>(?:functions\.)?(?P<name>{NAME}?)(?::\d+)?)\s*"
        r"<\|tool_call_argument_begin\|>\s*(?=\{)",
        r"(?:<\|start\|>assistant)?\s*(?:<\|channel\|>commentary)?\s*to=functions\."
        rf"(?P<name>{NAME}?)(?:<\|channel\|>|\s)?(?:commentary)?\s*"
        r"(?:<\|constrain\|>)?(?:json)?\s*(?:<\|message\|>)?(?=\{)",
    )
)
HELD = "\0"  # stands in a text for a call that was taken out
AROUND = rf"(?:{MARKS}|```(?:json)?)"
GROUP = re.compile(rf"(?:{AROUND}\s*)*\[?\s*{HELD}(?:[\s,;]|{AROUND}|{HELD})*\]?(?:\s*{AROUND})*")
FENCE = "```"


@dataclass(frozen=True)
class Call:
    """A call as it was written; arguments that are no object are None, a missing id is ""."""

    name: str
    arguments: Arguments | None
    id: str = ""


@dataclass(frozen=True)
class _Found:
    start: int
    end: int
    call: Call
    bare: bool = False  # JSON that might be anything else


class Apart(NamedTuple):
    """An answer's text without its calls and what marks them, and the calls in order.

    `behind` is what of the text stands behind the first call: beside calls that is their results'
    place, and a template writes a turn's text before its calls.
    """

    text: str
    calls: list[Call]
    behind: str = ""


def read_calls(text: str, tools: Sequence[Tool]) -> list[Call]:
    """The calls in an answer's text, in order.

    Args:
        text: the answer.
        tools: those that can be called; their schemas tell texts from numbers.
    """
    return [found.call for found in _all(text, tools)]


def calls_apart(text: str, tools: Sequence[Tool]) -> Apart:
    """An answer's text and its calls apart.

    JSON without a mark is a call where the answer begins with it, or where it names a tool and
    ends the answer, or begins or ends what stands in a fence.

    Args:
        text: the answer.
        tools: as in `read_calls`.
    """
    if HELD in text:  # a control character: nothing that can be used
        return Apart(text, [])
    found = _all(text, tools)
    names = {tool["function"]["name"] for tool in tools}
    pieces, end = [], 0
    for one in found:
        pieces += [text[end : one.start], HELD]
        end = one.end
    held = "".join([*pieces, text[end:]])
    parts: list[str] = [""]  # the text before the first group of calls, and behind each
    calls: list[Call] = []
    end, begun = 0, 0
    for group in GROUP.finditer(held):
        inside = found[begun : begun + group[0].count(HELD)]
        begun += len(inside)
        parts[-1] += held[end : group.start()]
        end = group.end()
        if _counts(group, inside, names):
            calls += [one.call for one in inside]
            parts.append("")
        else:
            pieces = group[0].split(HELD)
            for piece, one in zip(pieces, inside, strict=False):
                parts[-1] += piece + text[one.start : one.end]
            parts[-1] += pieces[-1]
    if not calls:
        return Apart(text, [])
    parts[-1] += held[end:]
    return Apart("".join(parts).strip(), calls, "".join(parts[1:]).strip())


def broken_call(text: str, tools: Sequence[Tool]) -> str:
    """What begins a call in a text from which all calls that can be read were taken; "" if nothing
    does.

    JSON without a mark is one where it is cut, or of a tool's name; other JSON is an answer.
    """
    if begun := OBJECT.match(text):
        start = len(text) - len(text.lstrip())
        value, end = json_at(text, start)
        names = {tool["function"]["name"] for tool in tools}
        values = value if isinstance(value, list) else [value]
        if end == start or any(_name(one) in names for one in values):
            return begun[1]
    found = BROKEN.search(text)
    return found[0].strip() if found else ""


def _counts(group: re.Match[str], inside: Sequence[_Found], names: set[str]) -> bool:
    """Whether what looks like calls is some: it is marked, or stands where calls do."""
    if not all(one.bare for one in inside) or MARK.search(group[0]):
        return True
    first = not group.string[: group.start()].strip()
    if first and group[0].lstrip()[:1] in (HELD, "["):
        return True
    last = not group.string[group.end() :].strip()
    return (first or last or FENCE in group[0]) and any(one.call.name in names for one in inside)


def _all(text: str, tools: Sequence[Tool]) -> list[_Found]:
    found: list[_Found] = []

    def add(one: _Found) -> None:
        if not any(other.start < one.end and one.start < other.end for other in found):
            found.append(one)

    for pattern, read, exact in _FORMS:
        for match in pattern.finditer(text):
            given = read(match[2], properties(tools, match[1]))
            if given is not None or not exact:
                add(_Found(*match.span(), Call(match[1], given)))
    for head in HEADS:
        for match in head.finditer(text):
            value, end = json_at(text, match.end())
            if end > match.end():
                given = value if isinstance(value, dict) else None
                add(_Found(match.start(), end, Call(match["name"], given, _id(match))))
    for start, end, call in _as_python(text):
        add(_Found(start, end, call))
    place = text.find("{")
    while place >= 0:
        value, end = json_at(text, place)
        named = _call(value)
        if named:
            add(_Found(place, end, named, bare=True))
        place = text.find("{", end if named else place + 1)
    return sorted(found, key=lambda one: one.start)


def _id(match: re.Match[str]) -> str:
    return match.groupdict().get("id") or ""


def _call(value: Any) -> Call | None:
    """A JSON value as a call, where it is one."""
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    value = {**value, **inner} if isinstance(inner, dict) else value
    name, given = value.get("name", value.get("tool_name")), value.get("arguments")
    given = value.get("parameters") if given is None else given
    if not isinstance(name, str) or given is None:
        return None
    if isinstance(given, str):
        given, _ = json_at(given, 0)
    number = value.get("id", value.get("tool_call_id"))
    return Call(name, given if isinstance(given, dict) else None,
                number if isinstance(number, str) else "")  # fmt: skip


def _name(value: Any) -> Any:
    """What a JSON value names that begins as a call does."""
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    value = {**value, **inner} if isinstance(inner, dict) else value
    name = value.get("name", value.get("tool_name", inner))
    return name if isinstance(name, str) else None


def _gemma(text: str, schemas: Mapping[str, Any]) -> Arguments | None:
    """`{item:<|"|>socks<|"|>,size:27}`: texts between marks, keys without quotes."""
    parts = text.split('<|"|>')
    for place, part in enumerate(parts):
        parts[place] = (
            json.dumps(part)
            if place % 2
            else re.sub(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)", r'\1"\2"\3', part)
        )
    value, _ = json_at("".join(parts), 0)
    return value if isinstance(value, dict) else None


def _as_python(text: str) -> list[tuple[int, int, Call]]:
    """The calls of a list as Python writes it, `[name(key="value")]`, that is marked or all there
    is."""
    start = re.match(r"\s*(?:<\|tool_call_start\|>|<\|python_start\|>)?\s*(?=\[\s*[A-Za-z_])", text)
    end = text.rfind("]") + 1
    if start is None or MARK.sub("", text[end:]).strip():
        return []
    try:
        [statement] = ast.parse(text[start.end() : end], mode="exec").body
        calls = statement.value.elts if isinstance(statement, ast.Expr) else []  # type: ignore[attr-defined]
        read = [
            Call(ast.unparse(call.func), {key.arg: ast.literal_eval(key.value)
                                          for key in call.keywords})
            for call in calls
            if not call.args
        ]  # fmt: skip
    except (SyntaxError, ValueError, AttributeError, TypeError, RecursionError, MemoryError):
        return []
    if not read or len(read) < len(calls):
        return []
    # All stand in one list: the first holds its place.
    places = [(start.end(), end), *[(end, end)] * (len(read) - 1)]
    return [(*place, call) for place, call in zip(places, read, strict=True)]


# A call's pattern, with its name and what its arguments stand in as groups; how these are read; and
# whether one that can't be read is left in the text.
_FORMS: tuple[tuple[re.Pattern[str], Reader, bool], ...] = (
    (FUNCTION, in_tags(PARAMETER, "<parameter="), True),
    (INVOKE, in_tags(NAMED, "<parameter name="), True),
    (TAGGED, in_tags(TAGS, "<arg_key>"), True),
    (GEMMA, _gemma, False),
)
