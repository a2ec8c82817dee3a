"""Every chat template that installed packages ship, tried with plain conversations.

`python -m tests.genpi_plugin.data.templates_walked` writes the table in docs/templates.md anew.
"""

from __future__ import annotations

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
CONVERSATIONS = {
    "a request": TALK[:2],
    "after a system turn": [SYSTEM, *TALK[:2]],
    "three turns": TALK,
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
    """What becomes of each conversation, checked against a plain rendering where it is trained."""
    view = ChatView(tokenizer_of(source), kwargs)
    found = {}
    for name, messages in CONVERSATIONS.items():
        try:
            sequences = view.sequences(messages)
        except TemplateError as error:
            found[name] = Outcome(0, error)
            continue
        check(view, messages, sequences)
        found[name] = Outcome(len(sequences))
    return view, found


def check(view: ChatView, messages, sequences) -> None:
    """Each answer follows the request of inference, whole, with one end token behind it."""
    tokenizer = view.tokenizer
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
        assert request == plain_request(view, messages[:turn]), f"request of turn {turn}"
        text = tokenizer.decode(answer)
        head, given, tail = text.partition(messages[turn]["content"])
        assert given, f"turn {turn} is not whole: {text!r}"
        assert head.strip() == view.frame(["user"]).opening.strip()
        assert len(tokenizer(tail.strip(), add_special_tokens=False)["input_ids"]) == 1, tail
        assert answer[-1] in tokenizer.added_tokens_decoder


def plain_request(view: ChatView, history) -> list[int]:
    """The request as transformers renders it, with content in the form that shows it."""

    def rendered(messages):
        return view.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **view.rendering.kwargs
        )

    parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in history]
    try:
        text = rendered(history)
        assert history[-1]["content"] in text
    except Exception:
        text = rendered(parts)
    assert all(message["content"] in text for message in history)
    return view.tokenizer(text, add_special_tokens=False)["input_ids"]


def line(name: str, path: Path) -> str:
    """A template's row of the table."""
    source = path.read_text("utf-8")
    view, found = outcomes(source)
    cells = [_cell(outcome) for outcome in found.values()]
    notes = []
    refusals = [outcome.refused for outcome in found.values() if outcome.refused]
    if refusals and (cure := re.search(r"Tried, and works: (.*)\.$", refusals[0].cure)):
        first = cure[1].split(", `chat_template")[0]
        notes.append(_short_path(first.split(" (serve")[0]))
    if not any(outcome.refused for outcome in found.values()):
        frame = view.frame(["user"])
        if frame.skipped:
            notes.append("empty thoughts before an answer are not trained")
        if frame.opening.strip():
            notes.append(f"the model writes `{frame.opening}` first".replace("|", "\\|"))
    if view.rendering.in_parts:
        notes.append("content in parts")
    if view.rendering.writes_date():
        notes.append("writes the date")
    return f"| `{name}` | {' | '.join(cells)} | {'; '.join(notes)} |"


def table() -> str:
    rows = [line(name, path) for name, path in names().items()]
    head = f"| template | {' | '.join(CONVERSATIONS)} | |\n|---|---|---|---|---|\n"
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
        ("does not take these roles", "refused: no system turn"),
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
