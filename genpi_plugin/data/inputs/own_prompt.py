"""The task's own prompt and tools in a log: found, taken out, or told from others."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence

from genpi_plugin.data.messages import Message
from genpi_plugin.data.roles import INSTRUCTIONS
from genpi_plugin.data.slots import slot, values_in
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import RowError

SHOWN = 72  # characters of a line that differs
BEFORE = 24  # of them before the difference
REST = "request.behind.the.prompt"  # a slot of our own
CURE = "Give the task the prompt and the tools that the logs are of, or take these logs out."


class OtherPromptError(RowError):
    """A log's prompt, or its tools, are not the task's; logs with one `cause` differ alike."""


class OwnPrompt:
    """The prompt that is internalized, and its tools, as logs of the application hold them."""

    def __init__(
        self, prompt: Sequence[Message], tools: Sequence[Tool] = (), slots: bool = False
    ) -> None:
        """
        Args:
            slots: whether the prompt's marks, `{{ name }}`, are slots, and no text.
        """
        self.prompt = list(prompt)
        self.tools = list(tools)
        self.slots = slots

    def taken_out(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, str] | None]:
        """A log without the prompt that it begins with.

        Returns:
            the other messages; and the values that stand in the prompt's slots, none where it has
            none, or None where the log does not begin with a prompt.

        Raises:
            OtherPromptError: it begins with another prompt.
        """
        joins = self.prompt[-1]["role"] == "user"
        before = self.prompt[:-1] if joins else self.prompt
        if not _same_role(messages[0], self.prompt[0]) and messages[0]["role"] == "user":
            return list(messages), None
        values: dict[str, str] = {}
        for place, own in enumerate(before):
            given = messages[place] if place < len(messages) else None
            found = self._values(own, given)
            if found is None or _contradict(values, found):
                if place == 0 and messages[0]["role"] == "user":
                    return list(messages), None  # the first request, as without a prompt
                raise OtherPromptError(_difference(own, given, place))
            values |= found
        rest = list(messages[len(before) :])
        if not joins:
            return rest, values
        own = self.prompt[-1]
        if rest and rest[0]["role"] == "user":
            asked = self.values_before(own["content"], rest[0]["content"])
            if asked is not None and not _contradict(values, asked[1]):
                rest[0] = {**rest[0], "content": asked[0]}
                return rest, {**values, **asked[1]}
        if not before and messages[0]["role"] == "user":
            return list(messages), None
        raise OtherPromptError(_difference(own, rest[0] if rest else None, len(before)))

    def check_tools(self, tools: Sequence[Tool]) -> None:
        """Check that a log's tools are the prompt's; their order tells nothing.

        Raises:
            OtherPromptError: names those that differ.
        """
        own = {tool["function"]["name"]: tool for tool in self.tools}
        given = {tool["function"]["name"]: tool for tool in tools}
        differing = {name for name in own.keys() & given.keys() if own[name] != given[name]}
        parts = {
            "only in the logs": given.keys() - own.keys(),
            "only in the task": own.keys() - given.keys(),
            "with another schema": differing,
        }
        said = [f"{text}: {', '.join(sorted(names))}" for text, names in parts.items() if names]
        if said:
            raise OtherPromptError(f"the tools are not the task's ({'; '.join(said)})")

    def values_of(self, own: str, given: str) -> dict[str, str] | None:
        """The values with which a text of the prompt is the text of a log; None if it is not.

        White space at the ends is no part of a prompt.
        """
        if self.slots:
            return values_in(own.strip(), given.strip())
        return {} if own.strip() == given.strip() else None

    def values_before(self, own: str, given: str) -> tuple[str, dict[str, str]] | None:
        """As `values_of`, where the request follows in the same message: it, and the values."""
        own = own.strip()
        given = given.lstrip()
        if self.slots:
            found = values_in(f"{own}\n\n{slot(REST)}", given)
            rest = (found or {}).pop(REST, "").strip()
            return (rest, found or {}) if rest else None
        asked = given[len(own) :]
        if not given.startswith(own) or not asked.startswith("\n") or not asked.strip():
            return None
        return asked.strip(), {}

    def _values(self, own: Message, given: Message | None) -> dict[str, str] | None:
        if given is None or not _same_role(own, given):
            return None
        if _by_value(own.get("tool_calls")) != _by_value(given.get("tool_calls")):
            return None
        return self.values_of(own["content"], given["content"])


def _same_role(one: Message, other: Message) -> bool:
    roles = {"system" if each["role"] in INSTRUCTIONS else each["role"] for each in (one, other)}
    return len(roles) == 1


def _contradict(values: Mapping[str, str], more: Mapping[str, str]) -> bool:
    return any(values.get(name, value) != value for name, value in more.items())


def _by_value(calls: object) -> object:
    """Calls with their arguments by value."""
    if not isinstance(calls, list):
        return calls
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def _difference(own: Message, given: Message | None, place: int) -> str:
    """Where a log's message first differs from the prompt's, as a diff of one line."""
    where = f"message {place + 1} of the prompt ({own['role']})"
    if given is None:
        return f"the log ends before {where}"
    if not _same_role(own, given):
        return f"in place of {where} stands one of the role {given['role']}"
    ours, theirs = own["content"].strip().split("\n"), given["content"].strip().split("\n")
    if ours == theirs:
        return f"the calls of {where} differ"
    changed = [
        code for code in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
        if code[0] != "equal"
    ]  # fmt: skip
    _, start, end, other, other_end = changed[0]
    mine = ours[start] if start < end else None
    its = theirs[other] if other < other_end else None
    lines = sum(max(code[2] - code[1], code[4] - code[3]) for code in changed)
    more = f"\n    ... and {lines - 1} more lines" if lines > 1 else ""
    return (
        f"{where} is another from its line {start + 1} on:"
        f"\n    - {_shown(mine, its)}\n    + {_shown(its, mine)}{more}"
    )


def _shown(line: str | None, other: str | None) -> str:
    """The part of a line where it differs from another."""
    if line is None:
        return "(no such line)"
    same = 0
    for one, two in zip(line, other or "", strict=False):
        if one != two:
            break
        same += 1
    start = max(0, min(same - BEFORE, len(line) - SHOWN))
    end = start + SHOWN
    return ("..." if start else "") + line[start:end] + ("..." if end < len(line) else "")
