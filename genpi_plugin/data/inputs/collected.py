"""What is gathered while a file of inputs is read: inputs, faults, and what to say of both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from genpi_plugin.data.inputs.file import Item
from genpi_plugin.data.inputs.given import GivenInput, Reading
from genpi_plugin.data.inputs.log import SLOTS, Log, read_log
from genpi_plugin.data.inputs.own_prompt import OtherPromptError, OwnPrompt
from genpi_plugin.data.inputs.source import Source
from genpi_plugin.data.inputs.turns import ASK, ASKING, KEEP, asked_in, whole_request
from genpi_plugin.data.messages import readable
from genpi_plugin.data.slots import names_of, parse_values
from genpi_plugin.data.text import control_fault, is_visible, surrogate_fault
from genpi_plugin.errors import RowError

SILENT = "(no text)"  # a tool that answered nothing, as a text for people
LOG = "messages"
ASK_CURE = "take it out, or let the target answer: --answers ask."


@dataclass
class Collected:
    """What was found so far.

    Attributes:
        faults: what is no input, each with its place, and what to do.
        others: how prompts or tools of logs differ from the task's -> the places of such logs.
        ignored: keys that nothing reads.
        controls: places of control characters.
        logs, prompts, without, tools, unanswered, failed: how many logs there are; how many of
            them held the prompt, could have and did not, held its tools, go on behind their last
            answer, have no whole answer.
    """

    path: Path
    unit: str
    inputs: list[GivenInput] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    controls: list[str] = field(default_factory=list)
    logs: int = 0
    prompts: int = 0
    without: int = 0
    tools: int = 0
    unanswered: int = 0
    failed: int = 0

    def said(self) -> list[str]:
        """What was done with the logs, a sentence without its full stop each."""
        found = []
        if self.prompts:
            found.append(f"took the task's prompt out of {self.prompts} of {self.logs} logs")
        if self.without:
            found.append(
                f"{self.without} of {self.logs} logs hold no prompt, and are taken as they are"
            )
        if self.tools:
            found.append(f"took the task's tools out of {self.tools} of {self.logs} logs")
        if self.unanswered:
            found.append(f"left out what {self.unanswered} logs hold behind their last answer")
        if self.failed:
            found.append(f"{self.failed} logs have no answer that is whole; they are asked again")
        return found


def inputs_of(
    item: Item, source: Source, reading: Reading, own: OwnPrompt | None, found: Collected
) -> None:
    """Read one item, and put what it gives to `found`."""
    where = f"{source.unit} {item.number}"
    if item.fault:
        found.faults.append((f"{where}: {item.fault}", ""))
        return
    try:
        log = read_log(item.value, where, source.column, found.ignored, source.from_json)
        values = _values_given(log, own, where, found)
        if log.messages:
            made = _of_log(log, reading.answers, own, values, where, found)
        elif reading.answers == KEEP:
            raise RowError(f"{where}: a text alone, with no answer to keep.", ASK_CURE)
        else:
            made = [GivenInput(log.text, id=log.id)]
        if values:
            made = [replace(one, values={**(one.values or {}), **values}) for one in made]
        for one in made:
            _check_characters(one, where)
    except OtherPromptError as error:
        found.others.setdefault(error.cause, []).append(str(item.number))
        return
    except RowError as error:
        found.faults.append((error.cause.rstrip("."), error.cure))
        return
    for one in made:
        if control := next(filter(None, map(control_fault, one.texts)), ""):
            found.controls.append(f"{item.number} ({control.partition(' in ')[0]})")
            break
    found.inputs += [replace(one, number=item.number) for one in made]


def _values_given(log: Log, own: OwnPrompt | None, where: str, found: Collected) -> dict[str, str]:
    """The values of slots that stand beside an input; nothing where the prompt has no slots.

    Raises:
        RowError: they are no values of the prompt's slots.
    """
    if log.slots in (None, ""):
        return {}
    if own is None or not own.slots:
        found.ignored.add(SLOTS)
        return {}
    values = parse_values(log.slots, SLOTS, where)
    names = names_of(own.prompt)
    if unknown := [name for name in values if name not in names]:
        raise RowError(
            f"{where}: `slots` has {', '.join(unknown)}, and the prompt's slots are "
            f"{', '.join(names)}.",
            "Correct the names.",
        )
    return values


def _of_log(
    log: Log,
    answers: str,
    own: OwnPrompt | None,
    slots: dict[str, str],
    where: str,
    found: Collected,
) -> list[GivenInput]:
    """The inputs of a log, without the prompt and the tools that are the task's."""
    found.logs += 1
    messages, values = log.messages, None
    if own is not None:
        if log.tools:
            own.check_tools(log.tools)
            found.tools += 1
        messages, values = own.taken_out(messages, where, slots)
        found.prompts += values is not None
        found.without += values is None and not log.is_request
    if log.answer_fault and answers == KEEP:
        raise RowError(f"{where}: {log.answer_fault}.", ASK_CURE)
    if log.is_request:
        if answers == KEEP:
            raise RowError(f"{where}: a request alone, with no answer to keep.", ASK_CURE)
        asked = whole_request(messages, LOG, where)
    else:
        asked = asked_in(messages, answers, LOG, where)
    if log.answer_fault:
        found.failed += 1
    elif answers != ASK and messages[-1]["role"] in ASKING:
        found.unanswered += len(asked[0].request) + len(asked[0].conversation) < len(messages)
    several = len(asked) > 1
    return [
        GivenInput(
            readable(one.request[-1]) or SILENT,
            id=f"{log.id}-{one.turn}" if log.id and several else log.id,
            request=one.request,
            conversation=one.conversation,
            values=values,
            goes_on=one.goes_on,
        )
        for one in asked
    ]


def _check_characters(one: GivenInput, where: str) -> None:
    """Check that a dataset can hold the texts, and that there is something to see in the input.

    Raises:
        RowError: it can't, or there is not.
    """
    field_name = "a message" if one.request else "`input`"
    for text in (*one.texts, one.id):
        if half := surrogate_fault(text):
            raise RowError(f"{where}: {field_name} holds {half}.", "write the whole character.")
        if "\0" in text:
            raise RowError(
                f"{where}: holds the character NUL (U+0000), which no dataset can.",
                "take the character out.",
            )
    if not is_visible(one.text):
        raise RowError(f"{where}: holds no character that can be seen.")
