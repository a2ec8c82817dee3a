"""What a chat template writes around an answer: measured by rendering texts that it can't know.

At inference a server renders the history with a generation prompt, and the model writes what
comes next. A template also renders answers that are given to it, and the two may differ: Qwen3's
puts empty thoughts before the last answer, Phi-3's a second token behind its end. Trained is what
the model writes: the answer's text right behind the generation prompt, and the first token that
ends its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from genpi_plugin.data.messages import Message
from genpi_plugin.data.probes import ANSWER, CALLS, probe, turns
from genpi_plugin.data.tools import Tool
from genpi_plugin.data.written import EMPTY_THOUGHTS, Tokens, open_thoughts
from genpi_plugin.errors import TemplateError

Render = Callable[[Sequence[Message], bool, Sequence[Tool]], str]


@dataclass(frozen=True)
class Frame:
    """The surroundings of an answer's text.

    Args:
        opening: what stands before the text and behind the generation prompt: white space, or a
            header of special tokens, which the model writes itself.
        closing: what it writes behind the text, up to the token that ends its turn.
        end: that token's id.
        header: the generation prompt, with what stands before it behind the last turn's text.
        foreign: whether the opening is a text, which would be no part of the answer given.
        thoughts: the pair of marks of thoughts that the generation prompt leaves open.
        skipped: empty thoughts that the template writes before an answer and a model does not.
    """

    opening: str
    closing: str
    end: int
    header: str
    foreign: bool = False
    thoughts: tuple[str, str] | None = None
    skipped: str = ""


def measure(
    render: Render, tokens: Tokens, kinds: Sequence[str], tools: Sequence[Tool] = ()
) -> Frame:
    """The frame of an answer after turns of these kinds (`probes.kinds`), with or without tools.

    Raises:
        TemplateError: the template leaves out a turn, ends an answer without a special token, or
            writes something before it that its generation prompt does not lead to.
    """
    history = turns(kinds)
    request = render(history, True, tools)
    whole = render([*history, {"role": "assistant", "content": ANSWER}], False, tools)
    for turn, role in enumerate([*kinds, "assistant"]):
        text, place = (probe(turn), request) if turn < len(kinds) else (ANSWER, whole)
        if text not in place and CALLS not in role:
            raise TemplateError(
                f"leaves out turn {turn} of a conversation ({role})",
                "use a `chat_template:` that writes every turn.",
            )
    before, _, after = whole.rpartition(ANSWER)
    last = probe(len(kinds) - 1)
    # Mistral's moves the system message once there is an answer: go by the last turn.
    prompted, answered = request[request.rfind(last) :], before[before.rfind(last) :]
    thoughts = open_thoughts(prompted)
    opening, skipped = ("", "") if thoughts else _opening(prompted, answered, tokens)
    closing, end = _closing(after, tokens)
    header = prompted.removeprefix(last)
    return Frame(opening, closing, end, header, _foreign(opening, tokens), thoughts, skipped)


def _opening(prompted: str, answered: str, tokens: Tokens) -> tuple[str, str]:
    """What stands between generation prompt and answer, and the empty thoughts that don't count."""
    if answered.startswith(prompted):
        opening = answered[len(prompted) :]
        if EMPTY_THOUGHTS.fullmatch(opening):
            return "", opening.strip()
        return opening, ""
    if _without_empty_thoughts(prompted) == _without_empty_thoughts(answered):
        return "", ""
    raise TemplateError(
        "writes an assistant turn differently from its generation prompt: "
        f"{_end(answered)!r} where the generation prompt is {_end(prompted)!r}",
        "set `chat_template_kwargs:` (for example `enable_thinking: false`) or another "
        "`chat_template:` so that both agree.",
    )


def _closing(after: str, tokens: Tokens) -> tuple[str, int]:
    """Everything up to the first special token behind an answer, and the token's id."""
    for token in tokens.ids(after):
        if token in tokens.marks:
            name = tokens.name(token)
            return after[: after.index(name) + len(name)], token
        if tokens.decoded([token]).strip():
            break
    raise TemplateError(
        f"ends an assistant turn without a special token ({after[:20]!r} follows the answer)",
        "set `chat_template:` to one that ends turns with a special token; the model could not "
        "learn where an answer ends.",
    )


def _foreign(opening: str, tokens: Tokens) -> bool:
    """Whether there is more in an opening than white space or a header of special tokens."""
    ids = tokens.ids(opening.strip()) if opening.strip() else []
    return bool(ids) and not (ids[0] in tokens.marks and ids[-1] in tokens.marks)


def _without_empty_thoughts(text: str) -> str:
    return EMPTY_THOUGHTS.sub("", text).strip()


def _end(text: str) -> str:
    return text[-40:]
