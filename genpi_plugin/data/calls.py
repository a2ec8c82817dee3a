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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

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
    r"|to=functions\.|\A\s*\[?\s*\{\s*\"(?:name|tool_name|function)\"\s*:"
)
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


@dataclass(frozen=True)
class Call:
    """A call as it was written; arguments that are no object are None, a missing id is ""."""

    name: str
    arguments: dict[str, Any] | None
    id: str = ""


@dataclass(frozen=True)
class _Found:
    start: int
    end: int
    call: Call
    bare: bool = False  # JSON that might be anything else


def read_calls(text: str) -> list[Call]:
    """The calls in an answer's text, in order."""
    return [found.call for found in _all(text)]


def calls_apart(text: str, names: Collection[str]) -> tuple[str, list[Call]]:
    """An answer's text without its calls and what marks them, and the calls in order.

    JSON without a mark is a call where the answer begins with it, or where it names a tool.

    Args:
        text: the answer.
        names: of the tools that can be called.
    """
    marked = MARK.search(text) is not None or text.lstrip()[:1] in ("{", "[")
    found = [one for one in _all(text) if marked or not one.bare or one.call.name in names]
    if not found:
        return text, []
    kept, end = [], 0
    for one in found:
        kept += [text[end : one.start], HELD]
        end = one.end
    left = GROUP.sub("", "".join([*kept, text[end:]]).replace(f"{HELD}{HELD}", HELD))
    return left.strip(), [one.call for one in found]


def broken_call(text: str) -> str:
    """What begins a call in a text from which all calls that can be read were taken; "" if nothing
    does."""
    found = BROKEN.search(text)
    return found[0].strip() if found else ""


def _all(text: str) -> list[_Found]:
    found: list[_Found] = []

    def add(one: _Found) -> None:
        if not any(other.start < one.end and one.start < other.end for other in found):
            found.append(one)

    for pattern, values in _FORMS:
        for match in pattern.finditer(text):
            add(_Found(*match.span(), Call(match[1], values(match[2]))))
    for head in HEADS:
        for match in head.finditer(text):
            value, end = _json_at(text, match.end())
            if end > match.end():
                given = value if isinstance(value, dict) else None
                add(_Found(match.start(), end, Call(match["name"], given, _id(match))))
    for start, end, call in _as_python(text):
        add(_Found(start, end, call))
    place = text.find("{")
    while place >= 0:
        value, end = _json_at(text, place)
        read = _call(value)
        if read:
            add(_Found(place, end, read, bare=True))
        place = text.find("{", end if read else place + 1)
    return sorted(found, key=lambda one: one.start)


def _id(match: re.Match[str]) -> str:
    return match.groupdict().get("id") or ""


def _json_at(text: str, place: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(text, place)
    except (ValueError, RecursionError):
        return None, place


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
        given, _ = _json_at(given, 0)
    number = value.get("id", value.get("tool_call_id"))
    return Call(name, given if isinstance(given, dict) else None,
                number if isinstance(number, str) else "")  # fmt: skip


def _values(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Arguments that are written as texts: numbers, lists and the like are JSON."""
    found: dict[str, Any] = {}
    for key, text in pairs:
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def _gemma(text: str) -> dict[str, Any] | None:
    """`{item:<|"|>socks<|"|>,size:27}`: texts between marks, keys without quotes."""
    parts = text.split('<|"|>')
    for place, part in enumerate(parts):
        parts[place] = (
            json.dumps(part)
            if place % 2
            else re.sub(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)", r'\1"\2"\3', part)
        )
    value, _ = _json_at("".join(parts), 0)
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


_FORMS: tuple[tuple[re.Pattern[str], Callable[[str], dict[str, Any] | None]], ...] = (
    (FUNCTION, lambda text: _values(PARAMETER.findall(text))),
    (INVOKE, lambda text: _values(NAMED.findall(text))),
    (TAGGED, lambda text: _values(TAGS.findall(text))),
    (GEMMA, _gemma),
)
