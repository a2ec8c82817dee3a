"""An answer's tokens behind its request: as sampled, as its text, or as the template renders it.

Where the engine told its tokens, they are the answer. A plain text stands right behind the
generation prompt. Thoughts and calls that a server took apart are written by the template, and
what was given is looked for in what it wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from genpi_plugin.data.frame import Frame
from genpi_plugin.data.messages import Message
from genpi_plugin.data.pieces import lost_calls
from genpi_plugin.data.written import EMPTY_THOUGHTS, SHOWN, Tokens, missing
from genpi_plugin.errors import TemplateError, TextError


@dataclass(frozen=True)
class Place:
    """Where an answer stands.

    Args:
        before: the request as text, its generation prompt included.
        frame: what stands around an answer there.
        tokens: the tokenizer.
    """

    before: str
    frame: Frame
    tokens: Tokens


def is_plain(answer: Message) -> bool:
    """Whether an answer is all text: no calls, and no thoughts beside it."""
    return "tool_calls" not in answer and "reasoning_content" not in answer


def plain(place: Place, content: str) -> str:
    """What stands behind the generation prompt for an answer that is all text, its end included.

    Raises:
        TemplateError: the generation prompt leaves thoughts open that the answer does not end.
    """
    frame = place.frame
    if frame.thoughts:
        opener, closer = frame.thoughts
        inside, ended, _ = content.partition(closer)
        if not ended or opener in inside:
            raise _left_thinking(opener, content)
    # White space that the template writes and the model wrote, too, is the model's.
    blank = not frame.opening.strip() and content.startswith(frame.opening)
    return f"{'' if blank else frame.opening}{content}{frame.closing}"


def beside(answer: Message) -> str:
    """What an answer has beside its text, in a user's words."""
    names = {"reasoning_content": "thoughts", "tool_calls": "calls of tools"}
    return " and ".join(words for key, words in names.items() if key in answer)


def rendered(place: Place, answer: Message, whole: str) -> str:
    """What the template writes behind its generation prompt for an answer, its end included.

    Args:
        whole: the rendered conversation, with the answer as its last message.

    Raises:
        TemplateError: it does not stand behind the generation prompt, a part of it is missing, or
            its turn does not end with a special token.
    """
    thinks = "reasoning_content" in answer
    if place.frame.thoughts and not thinks:
        raise _left_thinking(place.frame.thoughts[0], _start(answer))
    behind = _behind(place, whole, thinks)
    if not thinks and (empty := EMPTY_THOUGHTS.match(behind)):
        behind = behind[empty.end() :]
    what, lost = _lost(answer, behind)
    if what:
        raise TemplateError(
            f"leaves out {what} of an answer: {short(lost)} is not in what it writes",
            "use a `chat_template:` that writes it, or give the answer's `token_ids`.",
            lost,
        )
    return behind[: _end(place, answer, behind)]


def sampled(place: Place, answer: Message, ids: Sequence[int], ends: set[int]) -> list[int]:
    """The tokens as they were sampled, once they are found to be those of the answer.

    Args:
        ends: the tokens that may end it.

    Raises:
        TextError: they were cut, go on behind their end, or are no tokens of the answer.
    """
    tokens = place.tokens
    if max(ids) >= tokens.count:
        raise TextError(
            f"`token_ids` holds {max(ids)}, and the tokenizer has {tokens.count} tokens.",
            "train with the tokenizer that the answers were sampled with.",
        )
    if ids[-1] not in ends:
        raise TextError(
            f"the `token_ids` of an answer end with {tokens.decoded(ids[-1:])!r} and not with "
            f"{_names(tokens, ends)}: it was cut.",
            "leave the row out, or make it again with a higher limit of tokens.",
        )
    # Where an answer has a header, the template's end may close that, and another token the turn.
    last = {ids[-1]} if place.frame.opening.strip() else {ids[-1], place.frame.end}
    if early := last & set(ids[:-1]):
        raise TextError(
            f"the `token_ids` of an answer go on behind {_names(tokens, early)}, which ends a "
            "turn.",
            "leave the row out.",
        )
    text = tokens.decoded(ids[:-1])
    _, lost = _lost(answer, text)
    if lost or (is_plain(answer) and not _same(tokens, ids[:-1], answer["content"], place.frame)):
        raise TextError(
            f"the `token_ids` of an answer are those of {short(text)}, where the row says "
            f"{short(lost or answer['content'])}.",
            "write thoughts into `reasoning_content` and calls into `tool_calls`, or leave "
            "`token_ids` out, so that the text counts.",
            lost or answer["content"],
        )
    return list(ids)


def _start(answer: Message) -> str:
    """The beginning of an answer, for a message."""
    calls = answer.get("tool_calls") or []
    return answer["content"] or (calls[0]["function"]["name"] if calls else "")


def short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")


def _behind(place: Place, whole: str, thinks: bool) -> str:
    """The rest of the rendered conversation behind its generation prompt."""
    if whole.startswith(place.before):
        return whole[len(place.before) :]
    header = place.frame.header
    start = whole.rfind(header) if header.strip() else -1
    if start >= 0:
        return whole[start + len(header) :]
    # Empty thoughts in the generation prompt, which the template leaves out of an answer's turn.
    header = EMPTY_THOUGHTS.sub("", header).rstrip()
    start = whole.rfind(header) if header and not thinks else -1
    if start >= 0:
        return whole[start + len(header) :].lstrip()
    raise TemplateError(
        "writes an assistant turn differently from its generation prompt: "
        f"{whole[-40:]!r} where the generation prompt is {place.before[-40:]!r}",
        "set `chat_template_kwargs:` or another `chat_template:` so that both agree, or give the "
        "answer's `token_ids`.",
    )


def _end(place: Place, answer: Message, behind: str) -> int:
    """Where the turn's end token ends."""
    tokens = place.tokens
    # Behind a call some end a turn with another token, and then begin the next turn.
    begun = set(tokens.ids(place.frame.header))
    last = [one for one in tokens.ids(behind) if one in tokens.marks and one not in begun][-1:]
    for name in map(tokens.name, (place.frame.end, *last)):
        for found in re.finditer(re.escape(name), behind):
            if not any(_lost(answer, behind[: found.end()])):
                return found.end()
    raise TemplateError(
        f"ends an assistant turn without a special token ({behind[-20:]!r} is its end)",
        "use another `chat_template:`, or give the answer's `token_ids`.",
    )


def _lost(answer: Message, written: str) -> tuple[str, str]:
    """What of an answer is not in a text: (its kind, the part that is missing), or nothing."""
    for what, text in (("text", answer["content"]), ("thoughts", answer.get("reasoning_content"))):
        if text and (lost := missing(text, written)):
            return what, lost
    lost = lost_calls(answer, written)
    return ("a call", lost) if lost else ("", "")


def _same(tokens: Tokens, ids: Sequence[int], content: str, frame: Frame) -> bool:
    """Whether tokens are a text: with or without what a server takes out of it."""
    text = tokens.decoded(ids)
    bare = tokens.decoded([one for one in ids if one not in tokens.control])
    readings = (text, bare, EMPTY_THOUGHTS.sub("", text, count=1), text.replace(frame.opening, ""))
    return any(_bare(reading) == _bare(content) for reading in readings)


def _left_thinking(opener: str, content: str) -> TemplateError:
    return TemplateError(
        f"leaves {opener!r} open in its generation prompt, and the answer "
        f"{short(content)} does not begin inside of thoughts and end them",
        "train and serve without thoughts, or use another `chat_template:`.",
        content,
    )


def _names(tokens: Tokens, ends: set[int]) -> str:
    return " or ".join(repr(tokens.name(one)) for one in sorted(ends))


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", text)
