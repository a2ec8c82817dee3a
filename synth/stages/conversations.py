"""Stage 4: the model talks with itself, as the agent and as the agent's environment.

Source: "self-role-playing conversation" of Generative Prompt Internalization (arXiv 2411.15927).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from genpi_plugin.data.text import control_fault, folded
from synth.engines.base import Answer, Message, Request
from synth.engines.messages import as_dicts
from synth.errors import RowError
from synth.quality.filters import (
    CONTROLS,
    CUT,
    CUT_THINKING,
    agent_fault,
    thought_alone,
    tools_called,
    without_text,
)
from synth.quality.thoughts import off_fault
from synth.stages.circles import Commands
from synth.stages.environment import (
    END_MARKER,
    environment_end,
    environment_messages,
    marker_fault,
)
from synth.stages.requests import teacher_request
from synth.stages.stage import Ask, stage
from synth.stages.turns import Turn, turn_of
from synth.store.rows import FROM_LOG, Row
from synth.store.store import Generate
from synth.task.config import Conversations
from synth.task.taskfile import Task

END_PATTERN = "end pattern"
LOGGED = "one answer of a log"
AGAIN = "agent and environment repeat themselves"
OWN_ENDS = (END_PATTERN, END_MARKER)


@dataclass
class Talk:
    """A conversation on its way, assistant, user ... assistant.

    `turns` are those of the row, with the agent's thoughts; `heard` the same as the environment
    hears them. `token_ids` has an entry for each of the agent's turns.
    """

    turns: list[Message]
    heard: list[Message]
    token_ids: list[tuple[int, ...] | None]
    tokenizer: str

    @classmethod
    def begun(cls, row: Row) -> Talk:
        """The conversation with its first answer, which may have come from a stage of the task's
        own as a text."""
        heard = [Message("assistant", row.teacher_output)]
        if row.conversation:
            return cls([row.conversation[0]], heard, [*row.token_ids[:1]] or [None], row.tokenizer)
        return cls(list(heard), heard, [None], "")

    @property
    def said(self) -> str:
        """The agent's last turn, without its thoughts."""
        return self.heard[-1].content

    def add(self, environment: str, agent: Turn, said: str) -> None:
        """Go on for a turn of each."""
        asked = Message("user", environment)
        self.turns += [asked, agent.message]
        self.heard += [asked, Message("assistant", said)]
        self.token_ids.append(agent.token_ids)
        self.tokenizer = agent.tokenizer or self.tokenizer

    def drop(self) -> None:
        """Take back the last turn of each."""
        self.turns, self.heard = self.turns[:-2], self.heard[:-2]
        self.token_ids.pop()


@stage(
    needs=["prompt", "input", "teacher_output"],
    makes=["conversation", "conversation_end", "token_ids", "tokenizer"],
)
async def conversations(row: Row, ask: Ask) -> Row:
    """Fill in `conversation`: assistant, user, assistant ... and why it ended.

    The first assistant turn is the teacher output. Then the environment (played by the
    generator) and the agent (the teacher) answer each other until an end. What is not good, an
    empty turn for one, ends the conversation before it; what was good until then is kept. Nobody
    plays in a row out of a log: its other answers are rows of their own, or kept with it.

    Raises:
        RowError: it came to no end of its own, and `conversations.require_end` asks for one.
    """
    task, settings = ask.task, ask.task.config.conversations
    if row.conversation_end == FROM_LOG:
        return row
    talk = Talk.begun(row)
    if row.request:
        turns, end = tuple(talk.turns), LOGGED
        tokens, tokenizer = tuple(talk.token_ids), talk.tokenizer
        return replace(row, conversation=turns, conversation_end=end, token_ids=tokens,
                       tokenizer=tokenizer)  # fmt: skip
    commands = Commands(row, task.config.action_pattern)
    while True:
        end = _agent_end(talk, settings)
        if end:
            break
        request = Request(environment_messages(row, talk.heard, task), settings.sampling, ask.seed)
        answer, fault = await _ask(ask.generator, request)
        turn = answer.text.strip()
        if fault:
            end = f"environment turn {fault}"
            break
        if end := environment_end(row, talk.heard, turn, task):
            break
        if commands.answered_alike(turn):
            # The agent's last turn did again what it had done: it goes, too.
            talk.drop()
            end = AGAIN
            break
        turns = (*talk.turns, Message("user", turn))
        answer, fault = await _ask(ask.target, teacher_request(row, task, ask.seed, turns))
        said = answer.text.strip()
        off = off_fault(answer, task)
        fault = (off[0] if off else fault) or _agent_fault(said, task)
        if fault:
            end = f"agent turn {fault}"
            break
        if folded(said) == folded(talk.said):
            end = "agent repeats itself"
            break
        if commands.given_again(turn, said):
            end = AGAIN
            break
        talk.add(turn, turn_of(answer), said)
    if settings.require_end and end not in OWN_ENDS:
        made = {"conversation": as_dicts(talk.turns)}
        last = f"After {len(talk.turns)} turns, the last of them: {talk.said[:200]!r}"
        raise RowError(f"conversation without an end: {end}", last, made)
    return replace(
        row,
        conversation=tuple(talk.turns),
        conversation_end=end,
        token_ids=tuple(talk.token_ids),
        tokenizer=talk.tokenizer,
    )


async def _ask(generate: Generate, request: Request) -> tuple[Answer, str]:
    """The answer, and why it can't be used ("" if it can)."""
    try:
        answer = await generate(request)
    except RowError as error:
        return Answer("", "stop"), error.reason
    text = answer.text.strip()
    if answer.finish == "length" and not answer.tool_calls:
        return answer, CUT_THINKING if thought_alone(answer) else CUT
    if control_fault(text):
        return answer, CONTROLS
    if not text:
        return answer, without_text(answer)[0]
    return answer, tools_called(answer)[0] if answer.tool_calls else ""


def _agent_fault(answer: str, task: Task) -> str:
    if not answer:
        return "empty"
    return agent_fault(answer, task.config) or marker_fault(answer, task)


def _agent_end(talk: Talk, settings: Conversations) -> str:
    if settings.end_pattern and re.search(settings.end_pattern, talk.said):
        return END_PATTERN
    return "turn limit" if len(talk.token_ids) >= settings.max_turns else ""
