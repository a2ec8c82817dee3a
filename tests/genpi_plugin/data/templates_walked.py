"""Every chat template that installed packages ship, tried with plain conversations.

`python -m tests.genpi_plugin.data.templates_walked` writes the table in docs/templates.md anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.templates import shipped
from genpi_plugin.errors import TemplateError
from tests import ROOT
from tests.tiny import make_tokenizer

PAGE = ROOT / "docs" / "templates.md"
START = "<!-- made by `python -m tests.genpi_plugin.data.templates_walked` -->\n"
END = "<!-- end -->"
# What models' tokenizers hold as one token; thoughts' marks are not special in those.
MARKS = re.compile(
    r"<[|｜][^\s<>{}'\"]+[|｜]?>|<[^\s<>{}'\"|]+[|｜]>|</?s>|<(?:start|end)_of_\w+>|<end_of_utterance>"
    r"|\[/?[A-Z_]{3,}\]|\[\|\w+\|\]|<(?:bos|eos)>"
)
SYSTEM = {"role": "system", "content": "You sell socks. Never name a price."}
TALK = [
    {"role": "user", "content": "do you have wool socks?"},
    {"role": "assistant", "content": "Grey. Yes, two pairs."},
    {"role": "user", "content": "and in blue?"},
    {"role": "assistant", "content": "Blue. Only one."},
    {"role": "user", "content": "then the grey ones"},
    {"role": "assistant", "content": "Grey. In your basket."},
]
THOUGHTS = "They ask for wool. There are two pairs."
ARGUMENTS = {"item": "wool socks", "size": 27}
CALL = {
    "id": "c00000001",
    "type": "function",
    "function": {"name": "stock_of", "arguments": json.dumps(ARGUMENTS)},
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "stock_of",
            "description": "How many pairs there are.",
            "parameters": {
                "type": "object",
                "properties": {
                    "item": {"type": "string", "description": "What is sold."},
                    "size": {"type": "integer", "description": "In centimetres."},
                },
                "required": ["item"],
            },
        },
    }
]
CALLING = [
    TALK[0],
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"pairs": 2}', "tool_call_id": CALL["id"], "name": "stock_of"},
    TALK[1],
]
# The first of these have nothing but texts.
PLAIN = 4
CONVERSATIONS = {
    "a request": TALK[:2],
    "after a system turn": [SYSTEM, *TALK[:2]],
    "three turns": TALK,
    "white space": [TALK[0], {"role": "assistant", "content": " \n Grey. Yes.\n\n"}],
    "thoughts": [TALK[0], {**TALK[1], "reasoning_content": THOUGHTS}],
    "a call": CALLING[:2],
    "a call's result": CALLING,
}


@dataclass
class Outcome:
    """How one conversation went: the sequences, or the refusal."""

    sequences: int
    refused: TemplateError | None = None


def names() -> dict[str, Path]:
    """The shipped templates by a short name: `axolotl/chatml`."""
    return {f"{package_of(path)}/{path.stem}": path for path in shipped().values()}


def package_of(path: Path) -> str:
    return "trl" if "trl" in path.parts else "axolotl"


def tokenizer_of(source: str):
    """The tiny tokenizer, with the template's marks as special tokens."""
    tokenizer = make_tokenizer()
    marks = [mark for mark in dict.fromkeys(MARKS.findall(source)) if "think" not in mark.lower()]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = source
    return tokenizer


def outcomes(source: str, **kwargs) -> tuple[ChatView, dict[str, Outcome]]:
    """What becomes of each conversation, checked against a plain rendering where it is trained.

    Where it has calls, the teacher sees tools and the student none, and both are checked.
    """
    view = ChatView(tokenizer_of(source), kwargs)
    found = {}
    for name, messages in CONVERSATIONS.items():
        tools = TOOLS if any("tool_calls" in message for message in messages) else []
        try:
            sequences = view.sequences(messages)
            if tools:
                taught = view.sequences(messages, tools=tools)
                for turn, message in enumerate(messages):
                    if message["role"] == "assistant":
                        view.check_same_answer(messages[:turn], messages[:turn], message, tools)
        except TemplateError as error:
            found[name] = Outcome(0, error)
            continue
        check(view, messages, sequences)
        if tools:
            check(view, messages, taught, tools)
            assert answers_of(taught) == answers_of(sequences)
        found[name] = Outcome(len(sequences))
    return view, found


def answers_of(sequences) -> list[int]:
    return [label for sequence in sequences for label in sequence.labels if label != -100]


def check(view: ChatView, messages, sequences, tools=()) -> None:
    """Each answer follows the request of inference, whole, with one end token behind it."""
    turns = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
    requests, answers = [], []
    for sequence in sequences:
        start = None
        for place, label in enumerate([*sequence.labels, -100]):
            if label != -100 and start is None:
                start = place
            elif label == -100 and start is not None:
                requests.append(sequence.ids[:start])
                answers.append(sequence.ids[start:place])
                start = None
    assert len(answers) == len(turns)
    for turn, request, answer in zip(turns, requests, answers, strict=True):
        assert request == plain_request(view, messages[:turn], tools), f"request of turn {turn}"
        check_answer(view, messages[turn], request, answer)


def check_answer(view: ChatView, message, request: list[int], answer: list[int]) -> None:
    """What was given is in an answer's tokens, and one token behind it ends the turn."""
    tokenizer = view.tokenizer
    text = tokenizer.decode(answer)
    assert answer[-1] in tokenizer.added_tokens_decoder
    assert answer.count(answer[-1]) == 1
    if "tool_calls" in message:
        bare = "".join(text.split())
        for value in ("stock_of", "item", "woolsocks", "size", "27"):
            assert bare.count(value) == 1, text
        behind = text[max(text.rindex("27"), text.rindex("socks")) :]
        assert not re.search(r"user|assistant|system|<\|start", behind.replace("<|user|>", ""))
        return
    head, given, tail = text.partition(message["content"])
    assert given, f"an answer is not whole: {text!r}"
    assert len(tokenizer(tail, add_special_tokens=False)["input_ids"]) == 1 or not tail[:1].strip()
    assert len(tokenizer(tail.strip(), add_special_tokens=False)["input_ids"]) == 1, tail
    opening = view.frame(["user"]).opening.strip()
    if "reasoning_content" not in message:
        assert head.strip() == opening
        return
    before, given, between = head.partition(message["reasoning_content"])
    assert given, f"thoughts are not whole: {text!r}"
    # A mark before and a mark behind, which stand in the generation prompt or in the answer.
    assert len(before.split()) <= 1
    assert between.strip().endswith(opening)
    opened = tokenizer.decode(request).rstrip() + before
    assert re.search("think|thought|analysis", opened[-20:]), opened


def plain_request(view: ChatView, history, tools=()) -> list[int]:
    """The request as transformers renders it, with content and arguments in the form that shows
    them."""

    def rendered(messages):
        return view.tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            **view.rendering.kwargs,
            **({"tools": tools} if tools else {}),
        )

    def with_mappings(message):
        calls = [
            {**call, "function": {**call["function"], "arguments": ARGUMENTS}}
            for call in message.get("tool_calls", [])
        ]
        return {**message, "tool_calls": calls} if calls else message

    parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in history]
    forms = [[with_mappings(m) for m in history], list(history), parts]
    for messages in forms:
        try:
            text = rendered(messages)
        except Exception:
            continue
        contents = [message["content"] for message in history]
        escaped = [content.replace('"', '\\"') for content in contents]
        shown = all(c in text or e in text for c, e in zip(contents, escaped, strict=True))
        if shown and "[{'type'" not in text and "{'item'" not in text:
            return view.tokenizer(text, add_special_tokens=False)["input_ids"]
    raise AssertionError("no form of the messages is whole in what the template writes")


def line(name: str, path: Path) -> str:
    """A template's row of the table."""
    source = path.read_text("utf-8")
    view, found = outcomes(source)
    cells = [_cell(outcome) for outcome in found.values()]
    notes = []
    plain = [outcome.refused for outcome in list(found.values())[:PLAIN]]
    for refused in [outcome.refused for outcome in found.values() if outcome.refused]:
        cure = re.search(r"Tried, and works: (.*)\.$", refused.cure)
        # Another model's template writes thoughts and calls as that model does.
        if cure and (refused in plain or "kwargs" in cure[1]):
            first = cure[1].split(", `chat_template")[0]
            notes.append(_short_path(first.split(" (serve")[0]))
    notes = list(dict.fromkeys(notes))
    if not any(plain):
        frame = view.frame(["user"])
        if frame.skipped:
            notes.append("empty thoughts before an answer are not trained")
        if frame.opening.strip():
            notes.append(f"the model writes `{frame.opening}` first".replace("|", "\\|"))
    if view.rendering.forms.in_parts:
        notes.append("content in parts")
    if view.rendering.writes_date():
        notes.append("writes the date")
    return f"| `{name}` | {' | '.join(cells)} | {'; '.join(notes)} |"


def table() -> str:
    rows = [line(name, path) for name, path in names().items()]
    rule = "|---" * (len(CONVERSATIONS) + 2)
    head = f"| template | {' | '.join(CONVERSATIONS)} | |\n{rule}|\n"
    return f"{versions()}\n\n{head}" + "\n".join(rows) + "\n"


def versions() -> str:
    found = []
    for package in ("axolotl", "trl"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return f"With {' and '.join(found)}:"


def _cell(outcome: Outcome) -> str:
    if outcome.refused is None:
        return "yes" if outcome.sequences == 1 else f"yes, {outcome.sequences} sequences"
    cause = outcome.refused.cause
    for words, said in (
        ("open in its generation prompt", "refused: it is left thinking"),
        ("without a special token", "refused: no end token"),
        ("does not take these roles: system", "refused: no system turn"),
        ("does not take these roles: user, assistant, tool", "refused: takes no results"),
        ("leaves out thoughts", "refused: writes no thoughts"),
        ("leaves out a call", "refused: writes no calls"),
        ("leaves out a part of the tool", "refused: writes no tools"),
        ("differently from its generation prompt", "refused: does not think"),
    ):
        if words in cause:
            return said
    return f"refused: {cause}"


def _short_path(text: str) -> str:
    return re.sub(r"/\S*/(trl/chat_templates/)", r"\1", text)


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    before, rest = page.split(START)
    PAGE.write_text(f"{before}{START}{table()}{END}{rest.split(END)[1]}", "utf-8")
