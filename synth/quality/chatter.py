"""What a generator writes around the example it was asked for, told from the example itself.

"Sure! Here is a new example:", a label ("Example 5:"), quotation marks, a code fence, an offer of
more. What is around a whole example is taken off by rule; a text of which no clean example is left
is rejected. Nothing is taken off that a seed has as well: then it is the application's form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from synth.quality.filters import AGENT_MARKER

CHATTER = "holds the generator's own words"

THING = r"""(?: example | request | input | query | question | message | instruction | prompt | task
              | one | option | possibility | scenario | variation )s?"""
NEW = r"""(?: another | (?: (?: one | an? | some | two | three | the ) \s )?
            (?: more | new | next | different | fresh | similar | unique | possible | sample
              | second | third ) )"""
# "Sure! Here is a new example of a request, unlike those before:" and a line break or the example.
INTRODUCTION = re.compile(
    rf"""(?: (?: sure | certainly | of \s course | absolutely | okay | ok | alright | got \s it
               | great | understood | no \s problem ) (?: \s thing )? [,.!:\s]+ )*
         (?: here (?: 's | \u2019s | \s is | \s are ) | below \s is | how \s about ) \s
         (?: {NEW} \b [^\n:"\u201c]{{0,50}} \b {THING} | (?: \w+ \s ){{1,3}} examples? )
         \b [^\n:"\u201c]{{0,80}} : [*_]* \s*""",
    re.IGNORECASE | re.VERBOSE,
)
# An interjection on a line of its own.
INTERJECTION = re.compile(
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|alright|understood)[.!]\s*\n\s*",
    re.IGNORECASE,
)
# "Example 5:", "**New request:**", "User:".
LABEL = re.compile(
    rf"""[*_#>\s]{{0,6}}
         (?: {NEW} \s {THING} | {THING} \s* \#? \d{{1,3}} | example | request | input | query
           | user | customer | human )
         (?: '?s \s {THING} )? [*_]* \s* : [*_]* \s+""",
    re.IGNORECASE | re.VERBOSE,
)
KEY = re.compile(r"^[A-Z][a-z ]{1,20}:\s", re.MULTILINE)
OFFER = re.compile(
    rf"""\n\s* (?: let \s me \s know \s if \b [^\n]* \b (?: another | more | further | {THING}
                 | help | changes | adjust\w* | modif\w* ) \b
               | would \s you \s like \s (?: me \s to | another | more | a \s different )
               | (?: feel \s free \s to | i \s can ) \s (?: ask | modify | adjust | generate
                 | provide ) \b
               | (?: \( \s* )? note : | this \s {THING} \s (?: is | was | follows | has ) \b )
         [^\n]* \Z""",
    re.IGNORECASE | re.VERBOSE,
)
FENCE = re.compile(r"(`{3,}|~{3,})[\w-]*[ \t]*\n(?P<inside>[\s\S]+?)\n[ \t]*\1", re.MULTILINE)
QUOTES = {'"': '"', "\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c", "`": "`"}


def example_in(text: str, seeds: Iterable[str] = ()) -> str | None:
    """The example in a generator's text, without what the generator wrote around it.

    Args:
        text: the whole text.
        seeds: texts of the application's form, which are left as they are.

    Returns:
        None when words of the generator's own remain: nothing behind an introduction, several
        examples, or a comment behind the quoted one.
    """
    form = [seed.strip() for seed in seeds]
    left, introduced = text.strip(), False
    while True:
        before = left
        for around in (INTRODUCTION, INTERJECTION, LABEL):
            match = around.match(left)
            if match is None or any(around.match(seed) for seed in form):
                continue
            if around is LABEL and KEY.search(left, match.end()):
                continue  # a form with several keys
            left, introduced = left[match.end() :].strip(), True
        offer = OFFER.search(left)
        if offer is not None and not any(OFFER.search(seed) for seed in form):
            left, introduced = left[: offer.start()].strip(), True
        bare = _unquoted(left)
        if bare != left and not any(_unquoted(seed) != seed for seed in form):
            left = bare
        if left == before:
            break
    if AGENT_MARKER.search(left) and not any(AGENT_MARKER.search(seed) for seed in form):
        return None  # it goes on with the agent's answer
    if introduced and (not left or left[0] in QUOTES or _several(left)):
        return None
    return left


def _unquoted(text: str) -> str:
    """The text without what is around all of it: a fence, a quotation, quotation marks, bold."""
    fenced = FENCE.fullmatch(text)
    if fenced:
        return fenced["inside"].strip()
    lines = text.splitlines()
    if lines and all(line.startswith(">") for line in lines):
        return "\n".join(line[1:].removeprefix(" ") for line in lines).strip()
    closing = QUOTES.get(text[:1])
    inside = text[1:-1]
    if closing and len(text) > 2 and text[-1] == closing and not set(inside) & {text[0], closing}:
        return inside.strip()
    bold = re.fullmatch(r"(\*\*|__)(?P<inside>[^*_]+)\1", text)
    return bold["inside"].strip() if bold else text


def _several(text: str) -> bool:
    """Whether a text behind an introduction is a list of examples."""
    return len(re.findall(r"^\s*(?:\d{1,2}[.)]|[-*])\s", text, re.MULTILINE)) > 1 or any(
        LABEL.match(line) for line in text.splitlines()[1:]
    )
