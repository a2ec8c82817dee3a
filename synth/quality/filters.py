"""What is good enough to keep, and the reason when it is not. Pure functions over text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genpi_plugin.data.text import BROKEN, control_fault, folded
from synth.engines.base import Answer, Message
from synth.errors import RowError
from synth.quality.calls import said, unreadable
from synth.quality.refusals import refuses
from synth.task.config import TaskConfig
from synth.task.sections import Inputs

EMPTY = "empty"
NO_TEXT = "came to no text"
THOUGHT = f"{NO_TEXT}: it thought"
CALLED = f"{NO_TEXT}: it called the tool"
CUT = "cut by the token limit"
CUT_THINKING = f"{CUT} while it thought"
CALLS = "calls the tool"
REFUSES = "refuses"
CONTROLS = "holds control characters"
BREAKS = "holds a broken character"
LEAKS = "repeats the prompt"
PLAYS_AGENT = "plays the agent"

# What to do about a model that thinks and should not, or should come to its answer.
THINKING_CURE = (
    "Let it write more (max_tokens), or switch its thinking off: `thinking: off` in task.yml for "
    "the target, --generator-chat-template-kwargs '{\"enable_thinking\": false}' for the "
    'generator; hosted models: --request-args \'{"reasoning_effort": "none"}\'.'
)

# A turn's own marker at the start of a line: the speaker goes on with somebody else's turn.
# In lower case it is a key of some file that the environment shows ("agent: any").
AGENT_MARKER = re.compile(
    r"""^[^\w\n]{0,4}(?:(?:AGENT|Agent|ASSISTANT|Assistant|AI)[^\w\n]{0,3}:|<\|assistant\|>)""",
    re.MULTILINE,
)


def input_fault(answer: Answer, settings: Inputs) -> str | None:
    """Why a generated text is not a well-formed input; None if it is.

    Args:
        answer: the text, without what the generator wrote around it, and how it ended.
        settings: the task's.
    """
    text = answer.text.strip()
    if answer.finish == "length" and not answer.tool_calls:
        return CUT_THINKING if thought_alone(answer) else CUT
    if not text:
        return without_text(answer)[0]
    if answer.tool_calls:
        return tools_called(answer)[0]
    if control_fault(text):
        return CONTROLS
    if len(text) < settings.min_chars:
        return f"shorter than {settings.min_chars} characters"
    if len(text) > settings.max_chars:
        return f"longer than {settings.max_chars} characters"
    if settings.pattern is not None and not re.fullmatch(settings.pattern, text):
        return "does not match inputs.pattern"
    return None


def whole_answer(answer: Answer, what: str, limit: str, tools: str = "") -> str:
    """The answer's text without white space around it, and behind it a line for each call.

    Args:
        answer: the model's answer.
        what: what it is, for the reason ("teacher output").
        limit: the key that bounds it, for the detail ("outputs.max_tokens").
        tools: those that it was given; without any it may call none.

    Raises:
        RowError: it is empty, calls tools that it was not given, calls one without an object of
            arguments or goes on behind a call, holds control or broken characters, or the token
            limit cut it.
    """
    text = some_answer(answer, what, tools)
    if answer.finish == "length":
        also = f" {_thought(answer)} before." if answer.reasoning is not None else ""
        raise RowError(f"{what} {CUT}", f"Raise {limit}.{also} It ends in: {text[-80:]!r}")
    if BROKEN in text:
        raise RowError(f"{what} {BREAKS}", f"It holds {control_fault(text)}.")
    return text


def some_answer(answer: Answer, what: str, tools: str = "") -> str:
    """As `whole_answer`, whether it came to its end or not.

    Raises:
        RowError: it is empty, calls tools that it was not given, or holds control characters.
    """
    text = answer.text.strip()
    if answer.tool_calls and tools:
        fault, detail = unreadable(answer, tools)
        if fault:
            raise RowError(f"{what} {fault}", detail)
        text = said(answer)
    if not text:
        fault, detail = without_text(answer)
        if answer.finish == "length" and not answer.tool_calls:
            thought = thought_alone(answer)
            guess = THINKING_CURE if thought else "A model that thinks first?"
            raise RowError(
                f"{what} {CUT_THINKING if thought else CUT}",
                f"It came to no text. {detail} {guess}",
            )
        raise RowError(f"{what} {fault}", detail)
    if answer.tool_calls and not tools:
        fault, detail = tools_called(answer)
        raise RowError(f"{what} {fault}", detail)
    control = control_fault(text.replace(BROKEN, ""))
    if control:
        raise RowError(f"{what} {CONTROLS}", f"It holds {control}.")
    return text


def without_text(answer: Answer) -> tuple[str, str]:
    """What an answer without text has instead: (the fault, its detail)."""
    if answer.tool_calls:
        names, detail = _calls(answer)
        also = f" {_thought(answer)} before." if answer.reasoning is not None else ""
        return f"{CALLED} {names}", f"{detail}{also}"
    if answer.reasoning is not None:
        end = f", to the end: {answer.reasoning.strip()[-200:]!r}" if answer.reasoning else ""
        return THOUGHT, f"{_thought(answer)}{end}."
    return EMPTY, "The model answered with nothing."


def tools_called(answer: Answer) -> tuple[str, str]:
    """The fault of an answer that calls tools beside its text, and its detail."""
    names, detail = _calls(answer)
    return f"{CALLS} {names}", f"{detail} Beside it stands: {answer.text.strip()[:200]!r}"


def thought_alone(answer: Answer) -> bool:
    """Whether an answer has thoughts and nothing else."""
    return answer.reasoning is not None and not answer.text.strip() and not answer.tool_calls


def _calls(answer: Answer) -> tuple[str, str]:
    calls = answer.tool_calls or ()
    first = calls[0]
    names = ", ".join(dict.fromkeys(call.name for call in calls))
    return names, f"The call: {first.name}({first.arguments[:200]})."


def _thought(answer: Answer) -> str:
    thoughts = (answer.reasoning or "").strip()
    return f"It thought ({len(thoughts):,} characters)" if thoughts else "It thought, unseen"


def agent_fault(answer: str, config: TaskConfig, calls: bool = False) -> str:
    """Why the task takes no such turn of the agent's in a conversation; "" if it does.

    The filters `require_action` and `output_refusals` say the same of the first answer.

    Args:
        answer: the turn.
        config: the task's.
        calls: whether the turn calls a tool, which is an action, or answers what one gave back.
    """
    if config.outputs.require_action and not calls and not acts(answer, config.action_pattern):
        return "without a well-formed action"
    refusals = "outputs" in config.reject_refusals and "output_refusals" in config.filters
    return REFUSES if refusals and refuses(answer) else ""


def acts(answer: str, pattern: str | None) -> bool:
    """Whether a text holds a well-formed action; where the task has no pattern, none does."""
    return pattern is not None and re.search(pattern, answer) is not None


def plays_agent(
    turn: str, said_by_agent: str, action_pattern: str | None, environment: Sequence[str]
) -> bool:
    """Whether an environment's turn is one of the agent's.

    It is when it says what the agent said just before, or when it carries the agent's marker or
    holds a well-formed action, unless the environment's real turns do so, too.

    Args:
        turn: the environment's turn.
        said_by_agent: the agent's last turn.
        action_pattern: the task's.
        environment: turns that are the environment's for sure: the prompt's and the input.
    """
    if folded(turn) == folded(said_by_agent):
        return True
    signs = [AGENT_MARKER, *([re.compile(action_pattern)] if action_pattern else [])]
    return any(
        sign.search(turn) and not any(sign.search(real) for real in environment) for sign in signs
    )


def instruction_and_examples(prompt: Sequence[Message]) -> tuple[list[str], list[str]]:
    """A prompt's instruction, and the turns in it that show how its environment speaks.

    The instruction is its system turn, or else its first user turn.
    """
    turns = [turn.content for turn in prompt if turn.role == "user"]
    if prompt[0].role == "system":
        return [turn.content for turn in prompt if turn.role == "system"], turns
    return turns[:1], turns[1:]


def environment_turns(prompt: Sequence[Message], text: str) -> list[str]:
    """The turns that are the environment's for sure: the prompt's examples, and the input."""
    return [*instruction_and_examples(prompt)[1], text]
