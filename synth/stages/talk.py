"""A conversation on its way, and what can be used of an answer in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from genpi_plugin.data.text import control_fault
from synth.engines.base import Answer, Message, Request, ToolCall
from synth.engines.tops import Tops
from synth.errors import RowError
from synth.quality.calls import said as said_and_called
from synth.quality.calls import unreadable
from synth.quality.filters import (
    CONTROLS,
    CUT,
    CUT_THINKING,
    thought_alone,
    tools_called,
    without_text,
)
from synth.stages.turns import Turn
from synth.store.rows import Row
from synth.store.store import Generate


@dataclass
class Talk:
    """A conversation on its way: assistant, then user or tools' results, ... assistant.

    `turns` are those of the row, with the agent's thoughts; `shown` the same without them, as who
    plays a tool sees them. `said` is the agent's last turn, without its thoughts and with its calls
    as text. `token_ids` and `tops` have an entry for each of the agent's turns.
    """

    turns: list[Message]
    shown: list[Message]
    said: str
    token_ids: list[tuple[int, ...] | None]
    tokenizer: str
    tops: list[Tops | None]
    _sizes: list[int] = field(default_factory=list)  # of each exchange behind the first answer
    _before: list[str] = field(default_factory=list)  # `said`, before each of them

    @classmethod
    def begun(cls, row: Row) -> Talk:
        """The conversation with its first answer, which may have come from a stage of the task's
        own as a text."""
        output = row.teacher_output
        if not row.conversation:
            first = Message("assistant", output)
            return cls([first], [first], output, [None], "", [None])
        first = row.conversation[0]
        ids = [*row.token_ids[:1]] or [None]
        tops = [*row.tops[:1]] or [None]
        return cls([first], [_shown(first, output)], output, ids, row.tokenizer, tops)

    @property
    def heard(self) -> list[Message]:
        """What the environment hears: no thoughts, and no calls."""
        return [Message("assistant", one.content) if one.tool_calls else one for one in self.shown]

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of the agent's last turn, which wait for their results."""
        return self.turns[-1].tool_calls

    def add(self, environment: Sequence[Message], agent: Turn, said: str) -> None:
        """Go on: the environment's turn, or the results of calls, and the agent's turn behind."""
        self._sizes.append(len(environment) + 1)
        self._before.append(self.said)
        self.turns += [*environment, agent.message]
        self.shown += [*environment, _shown(agent.message, said)]
        self.said = said
        if not any(self.token_ids):
            self.tokenizer = agent.tokenizer
        # A row names one tokenizer; a stored answer's may be another.
        same = agent.tokenizer == self.tokenizer
        self.token_ids.append(agent.token_ids if same else None)
        self.tops.append(agent.tops if same else None)

    def drop(self) -> None:
        """Take back what came last; the first answer stays."""
        if self._sizes:
            size = self._sizes.pop()
            del self.turns[-size:], self.shown[-size:]
            self.said = self._before.pop()
            self.token_ids.pop()
            self.tops.pop()

    def ended(self, row: Row, end: str) -> Row:
        """The row with this conversation, and why it ended."""
        return replace(
            row,
            conversation=tuple(self.turns),
            conversation_end=end,
            token_ids=tuple(self.token_ids),
            tokenizer=self.tokenizer,
            tops=tuple(self.tops),
        )


async def ask_for(generate: Generate, request: Request) -> tuple[Answer, str]:
    """The answer, and why it can't be used ("" if it can). It may call the request's tools."""
    try:
        answer = await generate(request)
    except RowError as error:
        return Answer("", "stop"), error.reason
    text = answer.text.strip()
    called = answer.tool_calls if request.tools else ()
    if answer.finish == "length" and (called or not answer.tool_calls):
        return answer, CUT_THINKING if thought_alone(answer) else CUT
    if control_fault(text):
        return answer, CONTROLS
    if called:
        return answer, unreadable(answer, request.tools)[0]
    if not text:
        return answer, without_text(answer)[0]
    return answer, tools_called(answer)[0] if answer.tool_calls else ""


def said_in(answer: Answer) -> str:
    """What an answer says, and its calls as text; "" for one that can't be used."""
    return "" if unreadable(answer)[0] else said_and_called(answer)


def _shown(turn: Message, said: str) -> Message:
    """An agent's turn without its thoughts."""
    content = turn.content.strip() if turn.tool_calls else said
    return Message("assistant", content, tool_calls=turn.tool_calls)
