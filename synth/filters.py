"""What is good enough to keep, and the reason when it is not. Pure functions over text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from synth.config import Inputs, TaskConfig
from synth.engines.base import Answer, Message
from synth.errors import RowError

EMPTY = "empty"
CUT = "cut by the token limit"
REFUSES = "refuses"
LEAKS = "repeats the prompt"
PLAYS_AGENT = "plays the agent"

# Only what no user and no web page says: a customer may well be sorry or unable to do something.
REFUSAL = re.compile(
    r"""
    \bas \s an? \s (?:ai|artificial \s intelligence|(?:large \s)? language \s model)\b
    | \bi(?:'m|\s am) \s (?:just \s|only \s)? an? \s (?:ai\b|(?:large \s)? language \s model)
    | \bi \s? (?:can(?:'t|not|\s not) | won't | will \s not | am \s (?:not \s able|unable) \s to
               | 'm \s (?:not \s able|unable) \s to) \s
      (?: assist (?: \s you)? \s with | help (?: \s you)? \s with \s (?:that|this|your \s request)
        | comply | fulfill? | (?:engage|participate) \s in
        | (?:create|generate|write|provide) \s (?:(?:an?|any) \s)?
          (?:new \s|such \s|explicit \s|that \s|this \s)*
          (?:content|examples?|requests?|material) )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
REFUSAL_WITHIN = 300  # characters: a refusal comes at the start
# A turn's own marker at the start of a line: the speaker goes on with somebody else's turn.
AGENT_MARKER = re.compile(r"^\s*(?:<AGENT>|AGENT|ASSISTANT|AI)\s*:", re.MULTILINE | re.IGNORECASE)


def input_fault(answer: Answer, settings: Inputs) -> str | None:
    """Why a generated text is not a well-formed input; None if it is."""
    text = answer.text.strip()
    if not text:
        return EMPTY
    if answer.finish == "length":
        return CUT
    if len(text) < settings.min_chars:
        return f"shorter than {settings.min_chars} characters"
    if len(text) > settings.max_chars:
        return f"longer than {settings.max_chars} characters"
    if settings.pattern is not None and not re.fullmatch(settings.pattern, text):
        return "does not match inputs.pattern"
    return None


def whole_answer(answer: Answer, what: str, limit: str) -> str:
    """The answer's text without white space around it.

    Args:
        answer: the model's answer.
        what: what it is, for the reason ("teacher output").
        limit: the key that bounds it, for the detail ("outputs.max_tokens").

    Raises:
        RowError: it is empty, or the token limit cut it.
    """
    text = some_answer(answer, what)
    if answer.finish == "length":
        raise RowError(f"{what} {CUT}", f"Raise {limit}. It ends in: {text[-80:]!r}")
    return text


def some_answer(answer: Answer, what: str) -> str:
    """The answer's text without white space around it, whether it came to its end or not.

    Raises:
        RowError: it is empty.
    """
    text = answer.text.strip()
    if not text:
        raise RowError(f"{what} {EMPTY}", "The model answered with nothing.")
    return text


def refuses(text: str) -> bool:
    """Whether a text begins as a model refuses; ordinary regrets of a person do not count."""
    return REFUSAL.search(text[:REFUSAL_WITHIN].replace("\u2019", "'")) is not None


def agent_fault(answer: str, config: TaskConfig) -> str:
    """Why the task takes no such answer of the teacher's; "" if it does."""
    if config.outputs.require_action and not re.search(config.action_pattern or "", answer):
        return "without a well-formed action"
    if "outputs" in config.reject_refusals and refuses(answer):
        return REFUSES
    return ""


def word_runs(text: str, count: int) -> list[str]:
    """All `count` words in a row; case, punctuation and white space don't count."""
    words = re.findall(r"\w+", text.casefold())
    return [" ".join(words[at : at + count]) for at in range(len(words) - count + 1)]


def plays_agent(
    turn: str, said_by_agent: str, action_pattern: str | None, environment: Sequence[str]
) -> bool:
    """Whether an environment's turn is one of the agent's.

    It is when it carries the agent's marker, says what the agent said just before, or holds a
    well-formed action, unless the environment's real turns hold one, too.

    Args:
        turn: the environment's turn.
        said_by_agent: the agent's last turn.
        action_pattern: the task's.
        environment: turns that are the environment's for sure: the prompt's and the input.
    """
    if AGENT_MARKER.search(turn) or folded(turn) == folded(said_by_agent):
        return True
    if action_pattern is None or not re.search(action_pattern, turn):
        return False
    return not any(re.search(action_pattern, real) for real in environment)


def environment_turns(prompt: Sequence[Message], text: str) -> list[str]:
    """The turns that are the environment's for sure: the prompt's examples, and the input."""
    turns = [turn.content for turn in prompt if turn.role == "user"]
    # The first user turn of a prompt without a system turn is the instruction.
    return [*(turns if prompt[0].role == "system" else turns[1:]), text]


def folded(text: str) -> str:
    """The text with case and runs of white space folded: equal for duplicates."""
    return " ".join(text.casefold().split())
