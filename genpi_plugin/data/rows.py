"""Contract 1: the dataset row. Parse it, check it, read the official implementation's names too.

A malformed row is refused with the file, the row, the field and the cure. Nothing is filled in
or left out silently. Rows of the first version have neither `request` nor what came with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genpi_plugin.data import roles, slots
from genpi_plugin.data.distributions import FIELDS, Distributions, parse_distributions
from genpi_plugin.data.messages import Message, check_known, check_text, kind, parse_messages
from genpi_plugin.data.requests import Valued, teacher_messages, under
from genpi_plugin.data.tools import Tool, parse_tools
from genpi_plugin.data.transcripts import parse_transcript
from genpi_plugin.errors import RowError

__all__ = ["Message", "Row", "parse", "parse_prompt", "teacher_messages"]

# Our name -> the name in kaistAI/GenPI (dataset.py, save_pseudo_dataset).
OFFICIAL_NAMES = {
    "prompt_id": "context_id",
    "prompt": "context",
    "input": "pseudo_input",
    "floor_output": "student_output_single",
    "teacher_output": "teacher_output_single",
    "reason": "reason",
    "conversation": "teacher_output_conv",
}
TEXT_FIELDS = ("input", "floor_output", "teacher_output", "reason")
MESSAGE_FIELDS = ("prompt", "kept", "request", "conversation")
# What recitals alone need: a row may do without them.
OPTIONAL = ("floor_output", "reason")
# What rows have since they are conversations; no row needs them.
SECOND_VERSION = {"tools", "slots", "kept", "request", "token_ids", "tokenizer", *FIELDS}
UNSUPPORTED = {
    "tool_calls": "calls stand in the messages of `conversation`",
    "reasoning_content": "thoughts stand in the messages of `conversation`",
}


@dataclass(frozen=True)
class Row:
    """One conversation with everything generated for it. See contract 1 for the fields.

    `floor_output` and `reason` are None where they were not made. `slots` holds the values of the
    prompt's slots. `request` is the input as a user's message where the row has none. `token_ids`
    has an entry for each assistant turn of the conversation, None where its tokens are not known;
    it is empty where none are. So has `distributions`, the teacher's at those tokens.
    """

    id: str
    prompt_id: str
    prompt: list[Message]
    input: str
    floor_output: str | None
    teacher_output: str
    reason: str | None
    conversation: list[Message]
    where: str = ""
    tools: list[Tool] = field(default_factory=list)
    slots: dict[str, str] = field(default_factory=dict)
    kept: list[Message] = field(default_factory=list)
    request: list[Message] = field(default_factory=list)
    token_ids: list[list[int] | None] = field(default_factory=list)
    tokenizer: str = ""
    distributions: list[Distributions | None] = field(default_factory=list, compare=False)

    @property
    def asked(self) -> list[Message] | Valued:
        """What is sent before the first answer, beside the prompt and its tools."""
        request = self.request or [{"role": "user", "content": self.input}]
        if self.slots:
            return Valued(self.kept, request, self.slots)
        return [*self.kept, *request]

    @property
    def student_request(self) -> list[Message]:
        """What the student sees before the first answer."""
        return under([], self.asked)

    @property
    def teacher_request(self) -> list[Message]:
        """What the teacher sees before the first answer, beside its tools."""
        return under(self.prompt, self.asked)

    @property
    def sampled(self) -> dict[int, list[int]]:
        """The tokens of the conversation's turns by their places in it, where they are known."""
        turns = [place for place, one in enumerate(self.conversation) if one["role"] == "assistant"]
        known = zip(turns, self.token_ids, strict=bool(self.token_ids))
        return {place: ids for place, ids in known if ids is not None}

    def field_of(self, text: str) -> str:
        """The field in which a piece of text stands; "" where it is in none."""
        fields = {name: getattr(self, name) or "" for name in TEXT_FIELDS}
        fields |= {f"slots.{name}": value for name, value in self.slots.items()}
        for name in MESSAGE_FIELDS:
            for turn, message in enumerate(getattr(self, name)):
                for key in ("content", "reasoning_content"):
                    fields[f"{name}[{turn}].{key}"] = message.get(key, "")
                for number, call in enumerate(message.get("tool_calls", [])):
                    place = f"{name}[{turn}].tool_calls[{number}].function"
                    fields[f"{place}.name"] = call["function"]["name"]
                    fields[f"{place}.arguments"] = call["function"]["arguments"]
        return next((name for name, content in fields.items() if text in content), "")

    @property
    def can_recite(self) -> bool:
        """Whether there is all that a prompt-generation half shows and asks for."""
        return self.floor_output is not None and self.reason is not None


def parse(raw: Mapping[str, Any], where: str) -> Row:
    """Read one row with our names or the official ones.

    Args:
        raw: the row as `datasets` gives it.
        where: file and row number, for messages.

    Raises:
        RowError: a field is missing, empty, unknown, of the wrong type, or its roles are out of
            order.
    """
    official = "prompt" not in raw and "context" in raw
    names = OFFICIAL_NAMES if official else {name: name for name in OFFICIAL_NAMES}
    named: dict[str, Any] = {ours: raw.get(theirs) for ours, theirs in names.items()}
    second = set() if official else SECOND_VERSION
    check_known(raw, {"id", *names.values(), *second}, "", where, UNSUPPORTED)
    for name, theirs in names.items():
        if named.get(name) is None and name not in OPTIONAL:
            raise RowError(
                f"{where}: the field `{theirs}` is missing.",
                "make the dataset with `python -m synth run`, or add the field to the row "
                "(docs/dataset.md lists them all).",
            )
    for name in TEXT_FIELDS:
        if named[name] is not None:
            check_text(named[name], names[name], where)
    row_id = raw.get("id")
    for name, value in (("id", row_id), (names["prompt_id"], named["prompt_id"])):
        _check_name(value, name, where)
    prompt = parse_prompt(named["prompt"], names["prompt"], where)
    conversation = parse_messages(named["conversation"], names["conversation"], where)
    if official:
        conversation = roles.without_trailing_users(conversation)
    roles.check_conversation(conversation, names["conversation"], where)
    return Row(
        id=str(row_id) if row_id not in (None, "") else where,
        prompt_id=str(named["prompt_id"]),
        prompt=prompt,
        conversation=conversation,
        where=where,
        **{name: named[name] for name in TEXT_FIELDS},
        **(_second_version(raw, prompt, conversation, where) if second else {}),
    )


def parse_prompt(value: Any, name: str, where: str) -> list[Message]:
    """Read a prompt: a list of messages, or a transcript (official datasets hold one string)."""
    messages = parse_transcript(value) if isinstance(value, str) else value
    prompt = parse_messages(messages, name, where)
    roles.check_prompt(prompt, name, where)
    return prompt


def _second_version(
    raw: Mapping[str, Any],
    prompt: Sequence[Message],
    conversation: Sequence[Message],
    where: str,
) -> dict[str, Any]:
    """The fields that rows may have since they are conversations; absent ones are left out."""
    given = {name: raw.get(name) for name in SECOND_VERSION}
    given = {name: value for name, value in given.items() if value not in (None, "", [])}
    found: dict[str, Any] = {}
    if "tools" in given:
        found["tools"] = parse_tools(given["tools"], "tools", where)
    if values := slots.parse_values(given.get("slots", {}), "slots", where):
        slots.check_values(prompt, values, where)
        found["slots"] = values
    for name, check in (("kept", roles.check_kept), ("request", roles.check_request)):
        if name in given:
            found[name] = parse_messages(given[name], name, where)
            check(found[name], name, where)
    if "token_ids" in given:
        found["token_ids"] = _token_ids(given["token_ids"], conversation, where)
        check_text(raw.get("tokenizer"), "tokenizer", where)
        found["tokenizer"] = given["tokenizer"]
    elif "tokenizer" in given:
        raise RowError(
            f"{where}: the row has a `tokenizer` and no `token_ids`.",
            "write the tokens that it is of, or take the field out.",
        )
    if told := parse_distributions(raw, found.get("token_ids", []), where):
        found["distributions"] = told
    return found


def _check_name(value: Any, name: str, where: str) -> None:
    """Check an id: a text that is not empty, or a whole number; `id` may be missing."""
    if name == "id" and value in (None, ""):
        return
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(
            f"{where}: the field `{name}` is {kind(value)}, not a name.",
            f"write `{name}` as a string.",
        )
    if not str(value).strip():
        raise RowError(
            f"{where}: the field `{name}` is empty.",
            "it tells the rows of one prompt from those of another: write a name of the prompt.",
        )


def _token_ids(value: Any, conversation: Sequence[Message], where: str) -> list[list[int] | None]:
    turns = sum(message["role"] == "assistant" for message in conversation)
    if not isinstance(value, list | tuple) or len(value) != turns:
        got = len(value) if isinstance(value, list | tuple) else kind(value)
        raise RowError(
            f"{where}: the field `token_ids` is not a list for each of the {turns} assistant turns "
            f"of `conversation` ({got}).",
            "write a list of token ids for each of them, or null where they are not known.",
        )
    for number, ids in enumerate(value):
        if ids is not None and (
            not isinstance(ids, list | tuple)
            or not ids
            or any(type(one) is not int or one < 0 for one in ids)
        ):
            raise RowError(
                f"{where}: the field `token_ids[{number}]` is no list of token ids.",
                "write the tokens as they were sampled, with the end token, or null.",
            )
    return [None if ids is None else list(ids) for ids in value]
