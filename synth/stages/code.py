"""The agent's environment where the task has one in code: it answers calls, and may be the user.

See docs/extend.md for what a user writes.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

from genpi_plugin.data.text import control_fault
from synth.engines.base import Message, ToolCall
from synth.errors import SynthError, TaskError, ToolError
from synth.store.rows import Row
from synth.task.modules import Loaded, load_reference, raised
from synth.task.sections import PythonEnvironment
from synth.task.taskfile import Task

KEY = "conversations.environment"
CURE = "Correct the environment. What was made so far is kept."


def load_environment(task: Task) -> Loaded | None:
    """The factory that `conversations.environment` names; None where the generator plays.

    Raises:
        TaskError: it is not there, or can't be called.
    """
    named = task.config.conversations.environment
    if not isinstance(named, PythonEnvironment):
        return None
    loaded = load_reference(named.python, KEY, task.source.parent)
    if not callable(loaded.value):
        raise TaskError(
            f"`{KEY}`: {named.python} can't be called.",
            "Name a class or function that takes a row and gives back an environment "
            "(docs/extend.md).",
        )
    return loaded


async def environment_in_code(row: Row, task: Task) -> CodeEnvironment | None:
    """The environment of one row, reset to its beginning; None where the generator plays.

    Raises:
        SynthError: it can't be made, or it is none.
    """
    loaded = load_environment(task)
    named = task.config.conversations.environment
    if loaded is None or not isinstance(named, PythonEnvironment):
        return None
    where = f"row {row.position + 1} (input: {' '.join(row.input.split())[:120]!r})"
    try:
        made = await _called(loaded.value, row)
        if hasattr(made, "reset"):
            await _called(made.reset, row)
    except Exception as error:
        raise SynthError(
            f"The environment {named.python} can't be made for {where}: {raised(error)}.", CURE
        ) from error
    environment = CodeEnvironment(made, named.python, where)
    if not (environment.plays_tools or environment.plays_user):
        raise SynthError(
            f"The environment {named.python} has neither `step` nor `user`.",
            "Write `def step(self, name, arguments)`, which gives back a tool's result, or `def "
            "user(self, conversation)`, which gives back the user's turn (docs/extend.md).",
        )
    return environment


class CodeEnvironment:
    """An environment of the user's own, whose errors name it, the row and the call."""

    def __init__(self, made: Any, reference: str, where: str) -> None:
        """
        Args:
            made: what the factory gave back.
            reference: `module:factory`.
            where: the row, for messages.
        """
        self._made = made
        self._reference = reference
        self._where = where

    @property
    def plays_tools(self) -> bool:
        """Whether it answers calls."""
        return callable(getattr(self._made, "step", None))

    @property
    def plays_user(self) -> bool:
        """Whether it writes the user's turns."""
        return callable(getattr(self._made, "user", None))

    @property
    def done(self) -> bool:
        """Whether it has come to its end: the agent's turn behind is the last."""
        return bool(getattr(self._made, "done", False))

    async def result(self, call: ToolCall) -> Message:
        """What a tool gives back, as a message: a text as it is, other values as JSON.

        Raises:
            SynthError: `step` failed, or gave back what is neither.
        """
        what = f"at {self._where}, call {call.name}({call.arguments[:200]})"
        try:
            value = await _called(self._made.step, call.name, json.loads(call.arguments))
        except ToolError as error:
            value = str(error)
        except SynthError:
            raise
        except Exception as error:
            raise SynthError(
                f"The environment {self._reference} failed {what}: {raised(error)}.",
                f"A tool that can't do what it is asked raises synth.ToolError. {CURE}",
            ) from error
        try:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise SynthError(
                f"The environment {self._reference} gave back {type(value).__name__} {what}, which "
                f"is no JSON: {error}.",
                "`step` gives back a text, or what JSON can hold.",
            ) from None
        self._check(text, what)
        return Message("tool", text, tool_call_id=call.id, name=call.name)

    async def user(self, conversation: Sequence[Message]) -> str:
        """The user's turn; "" where the conversation ends.

        Raises:
            SynthError: `user` failed, or gave back what is neither a text nor None.
        """
        what = f"at {self._where}, in the user's turn {1 + len(conversation) // 2}"
        try:
            text = await _called(self._made.user, tuple(conversation))
        except SynthError:
            raise
        except Exception as error:
            raise SynthError(
                f"The environment {self._reference} failed {what}: {raised(error)}.", CURE
            ) from error
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise SynthError(
                f"The environment {self._reference} gave back {text!r} {what}.",
                "`user` gives back what the user says, or None to end the conversation.",
            )
        self._check(text or "", what)
        return (text or "").strip()

    def _check(self, text: str, what: str) -> None:
        if fault := control_fault(text):
            raise SynthError(
                f"The environment {self._reference} gave back a text that holds {fault}, {what}.",
                "Take it out: no dataset should hold it.",
            )


async def _called(function: Callable[..., Any], *given: Any) -> Any:
    """What a function of the user's own gives back, which may be one of `async def`."""
    value = function(*given)
    return await value if inspect.isawaitable(value) else value
