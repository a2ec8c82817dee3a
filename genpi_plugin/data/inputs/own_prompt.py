"""The task's own prompt and tools in a log: found, taken out, or told from others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from genpi_plugin.data.inputs.difference import REST, difference, same_role, unix
from genpi_plugin.data.messages import Message
from genpi_plugin.data.slots import SLOT, fill, may_give, names_in, slot, values_in
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import RowError

CURE = "Give the task the prompt and the tools that the logs are of, or take these logs out."


class OtherPromptError(RowError):
    """A log's prompt, or its tools, are not the task's; logs with one `cause` differ alike."""


class UnclearError(Exception):
    """Several values of slots give the same text."""


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

    def taken_out(
        self, messages: Sequence[Message], where: str = "", slots: Mapping[str, str] | None = None
    ) -> tuple[list[Message], dict[str, str] | None]:
        """A log without the prompt that it begins with.

        Args:
            messages: the log.
            where: its place, for messages.
            slots: the values that stand beside it.

        Returns:
            the other messages; and the values that stand in the prompt's slots, none where it has
            none, or None where the log does not begin with a prompt.

        Raises:
            OtherPromptError: it begins with another prompt.
            RowError: the values can't be told, or are others than those beside the log.
        """
        try:
            rest, values = self._taken_out(messages, slots or {})
        except UnclearError:
            raise RowError(
                f"{where}: the log's prompt is the task's, and which values its slots have can't "
                "be told: there are several ways.",
                'write them beside the log: "slots": {"name": ...}.',
            ) from None
        for name, value in (values or {}).items():
            if slots and slots.get(name, value) != value:
                raise RowError(
                    f"{where}: of the slot {name}, `slots` says {slots[name]!r}, and the log's "
                    f"prompt says {value!r}.",
                    "correct one of them.",
                )
        return rest, values

    def _taken_out(
        self, messages: Sequence[Message], known: Mapping[str, str]
    ) -> tuple[list[Message], dict[str, str] | None]:
        joins = self.prompt[-1]["role"] == "user"
        before = self.prompt[:-1] if joins else self.prompt
        asks = messages[0]["role"] == "user"
        if not same_role(messages[0], self.prompt[0]) and asks:
            return list(messages), None
        # A user's first turn is a request, where it does not begin as the prompt does.
        asks = asks and not self._begins_alike(self.prompt[0], messages[0])
        values: dict[str, str] = {}
        for place, own in enumerate(before):
            given = messages[place] if place < len(messages) else None
            found = self._values(own, given, {**values, **known})
            if found is None or _contradict(values, found):
                if place == 0 and asks:
                    return list(messages), None  # as without a prompt
                raise OtherPromptError(difference(own, given, place, self.slots))
            values |= found
        rest = list(messages[len(before) :])
        if not joins:
            return rest, values
        own = self.prompt[-1]
        if rest and rest[0]["role"] == "user":
            asked = self.values_before(own["content"], rest[0]["content"], {**values, **known})
            if asked is not None and not _contradict(values, asked[1]):
                rest[0] = {**rest[0], "content": asked[0]}
                return rest, {**values, **asked[1]}
        if not before and asks:
            return list(messages), None
        given = rest[0] if rest else None
        raise OtherPromptError(difference(own, given, len(before), self.slots))

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

    def values_of(
        self, own: str, given: str, known: Mapping[str, str] | None = None
    ) -> dict[str, str] | None:
        """The values with which a text of the prompt is the text of a log; None if it is not.

        White space at the ends is no part of a prompt, nor are carriage returns before line ends.

        Args:
            own: the prompt's text.
            given: the log's.
            known: values that are told elsewhere, which go before others.

        Raises:
            UnclearError: there are several values with which it is.
        """
        own, given = unix(own.strip()), unix(given.strip())
        if not self.slots:
            return {} if own == given else None
        return self._told(own, [given, *_padded(own, given)], known or {})

    def values_before(
        self, own: str, given: str, known: Mapping[str, str] | None = None
    ) -> tuple[str, dict[str, str]] | None:
        """As `values_of`, where the request follows in the same message: it, and the values."""
        own, given = unix(own.strip()), given.lstrip()
        text = unix(given)
        if self.slots:
            found = self._told(f"{own}\n\n{slot(REST)}", [text], known or {})
            rest = (found or {}).pop(REST, "").strip()
        else:
            found, asked = {}, text[len(own) :]
            rest = asked.strip() if text.startswith(own) and asked.startswith("\n") else ""
        if not rest:
            return None
        # As it was sent, carriage returns and all.
        return "\n".join(given.rstrip().split("\n")[-len(rest.split("\n")) :]).strip(), found or {}

    def _told(
        self, own: str, texts: Sequence[str], known: Mapping[str, str]
    ) -> dict[str, str] | None:
        names = names_in(own)
        values = {name: value for name, value in known.items() if name in names}
        filled = fill(own, values)
        for text in texts:
            if len(values) == len(names) and filled.strip() == text.strip():
                return values
            if values and (found := values_in(filled, text)) is not None:
                return {**values, **found}
        for text in texts:
            if (found := values_in(own, text)) is not None:
                return found
        if any(may_give(own, text) is not None for text in texts):
            raise UnclearError
        return None

    def _begins_alike(self, own: Message, given: Message) -> bool:
        """Whether the first lines are the same, beside slots."""
        lines = [unix(one["content"].strip()).split("\n")[0].rstrip() for one in (own, given)]
        if not self.slots:
            return lines[0] == lines[1]
        return bool(SLOT.sub("", lines[0]).strip()) and may_give(*lines) is not None

    def _values(
        self, own: Message, given: Message | None, known: Mapping[str, str]
    ) -> dict[str, str] | None:
        if given is None or not same_role(own, given):
            return None
        if _by_value(own.get("tool_calls")) != _by_value(given.get("tool_calls")):
            return None
        return self.values_of(own["content"], given["content"], known)


def _padded(own: str, given: str) -> list[str]:
    """A text with the white space that stood between its ends and empty values there."""
    first = re.match(rf"{SLOT.pattern}(\s+)", own)
    last = re.search(rf"(\s+){SLOT.pattern}$", own)
    lead, tail = first[2] if first else "", last[1] if last else ""
    padded = [lead + given, given + tail, lead + given + tail]
    return [one for one in dict.fromkeys(padded) if one != given]


def _contradict(values: Mapping[str, str], more: Mapping[str, str]) -> bool:
    return any(values.get(name, value) != value for name, value in more.items())


def _by_value(calls: object) -> object:
    """Calls with their arguments by value."""
    if not isinstance(calls, list):
        return calls
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
