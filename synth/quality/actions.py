"""The actions that an agent's texts name, by the task's `action_pattern`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from synth.text import words

# What stands for any argument: "the action has the form search[keywords]".
PLACEHOLDERS = frozenset(
    words(
        "a an the action actions arg args argument click element id item items key keyword "
        "keywords name names option options page product products query relation search some "
        "something string term terms text title type value values variable word words x xxx y your"
    )
)
QUOTES = r"[\"'`\u2018\u2019\u201c\u201d]"


def actions(text: str, pattern: str | None) -> list[str]:
    """The actions in a text: what the pattern's group `action`, or else all of it, matches."""
    if pattern is None:
        return []
    return [_action(match) for match in re.finditer(pattern, text)]


def command(text: str, pattern: str | None) -> str:
    """The text's first action, without regard to case, white space and quotes.

    A text without an action is taken whole: an agent that says the same does the same.
    """
    found = actions(text, pattern)
    plain = re.sub(QUOTES, "", found[0] if found else text).casefold()
    return " ".join(re.sub(r"([\[({,])\s+|\s+([\])},])", r"\1\2", plain).split())


def bare_pattern(pattern: str) -> str | None:
    """The pattern of the action alone, without what stands around it ("Action: ").

    Texts that talk of an action name it bare: "the answer is search[lamp]".

    Returns:
        The inside of the group `action`; None if there is no such group, or if its inside alone
        would also match ordinary words.
    """
    start = pattern.find("(?P<action>")
    if start < 0:
        return None
    start += len("(?P<action>")
    depth, at, in_class = 1, start, False
    while at < len(pattern) and depth:
        sign = pattern[at]
        if sign == "\\":
            at += 1
        elif in_class:
            in_class = sign != "]"
        elif sign == "[":
            in_class = True
            # A bracket right behind the opening one is the class's first member.
            at += 1 if pattern[at + 1 : at + 2] == "^" else 0
            at += 1 if pattern[at + 1 : at + 2] == "]" else 0
        else:
            depth += {"(": 1, ")": -1}.get(sign, 0)
        at += 1
    inside = pattern[start : at - 1]
    try:
        ordinary = re.search(inside, "The prompt asks for one action, so the answer is short.")
    except re.error:  # it refers to a group outside
        return None
    return None if ordinary else inside


def foreign_action(text: str, pattern: str | None, known: Iterable[str]) -> str:
    """An action that a text names and that none of the known texts holds; "" if there is none.

    A part of a known action counts as that action ("search[red shirt ...]"), and so does the bare
    form of one ("search[keywords]").

    Args:
        text: what talks of actions, as a reason does.
        pattern: the task's `action_pattern`.
        known: texts whose actions, and words, may be named.
    """
    if pattern is None:
        return ""
    bare = bare_pattern(pattern) or pattern
    seen = list(known)
    allowed = [frozenset(words(action)) for each in seen for action in actions(each, bare)]
    for action in dict.fromkeys(actions(text, bare)):
        named = frozenset(words(action)) - PLACEHOLDERS
        if named and not any(named <= one for one in allowed):
            return action
    return ""


def _action(match: re.Match[str]) -> str:
    named = match.groupdict().get("action")
    return " ".join((named if named is not None else match.group(0)).split())
