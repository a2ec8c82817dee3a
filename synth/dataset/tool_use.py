"""Which tools the agent of a dataset calls, and how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from synth.quality.calls import call_fault, schemas
from synth.store.rows import Row


@dataclass
class ToolUse:
    """Counts over the agent's turns of all rows that have tools.

    `called` has every tool, also those that are never called. `calling` turns hold calls, `formed`
    of them only such as the tools' schemas allow.
    """

    called: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    calling: int = 0
    formed: int = 0

    def add(self, row: Row) -> None:
        """Count a row."""
        if not row.tools:
            return
        for name in schemas(row.tools).names:
            self.called[name] += 0
        for turn in row.conversation:
            if turn.role != "assistant":
                continue
            self.turns += 1
            self.called.update(call.name for call in turn.tool_calls)
            if turn.tool_calls:
                self.calling += 1
                self.formed += not call_fault(turn.content, turn.tool_calls, row.tools)[0]

    def remarks(self) -> list[str]:
        """What there is to say, a sentence a line; nothing where there are no tools."""
        if not self.turns:
            return []
        named = ", ".join(f"{name} {count:,}" for name, count in self.called.most_common())
        formed = f", well-formed {self.formed / self.calling:.0%}" if self.calling else ""
        return [
            f"Calls of tools: {named}.",
            f"Turns of the agent that call tools: {self.calling / self.turns:.0%} of "
            f"{self.turns:,}{formed}.",
        ]
