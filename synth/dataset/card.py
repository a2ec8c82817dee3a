"""The dataset card: what the folder holds, and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from synth.dataset.summary import Summary, counted, remarks
from synth.text import visible

CARD = """\
---
{front}---

# {name}

{description}Made by `python -m synth run` of axolotl-genpi, for training a LoRA adapter that
behaves as if the prompt were in the request (Generative Prompt Internalization, arXiv 2411.15927).

## Rows

{counts}

| field | what |
|---|---|
| `id` | {ids} |
| `prompt_id` | of the prompt: known by its content |
| `prompt` | the messages to internalize, with the marks of its slots |
| `tools` | the tools that go with the prompt, for the teacher alone: JSON of their schemas |
| `slots` | this row's values of the prompt's slots: JSON of an object |
| `kept` | messages that teacher and student both see before the request |
| `request` | everything before the first answer; null where that is the input as a user's message |
| `input` | what a user sends: the request's last message |
| `floor_output` | the target model's answer without the prompt; null in rows without a reason |
| `teacher_output` | {answer} |
| `reason` | why the prompt changes the answer; null where none was made, or it was lost |
| `conversation` | from the first answer on: assistant, then user or tool ... assistant |
| `token_ids` | of each assistant turn, as they were sampled; null where they are not known |
| `top_ids` | at each of these the likeliest tokens, in order; null where they are not known |
| `top_logprobs` | their log-probabilities in nats, at temperature 1, with the prompt |
| `tokenizer` | the mark of the tokenizer that all of these are of |

Tools, slots, kept messages, tokens, likeliest tokens and their tokenizer are null in rows that have
none.

## Provenance

| | |
|---|---|
{provenance}

## Stages

| stage | passed | rejected | why | not answered yet |
|---|---|---|---|---|
{stages}

{remarks}

Rejected rows are in `rejected.jsonl`, each with its reason, and so is what rows that are here lost.
`synth.yaml` holds every setting, `report.html` shows the figures and some rows, `run.json` says
what it took.

## The command

{command}
"""
CONTENT_IDS = "known by content: the same input and prompt have the same id anywhere"
OWN_IDS = "of the user's input where it has one; else known by content"
# What a teacher's answer is: the target's, or with `--answers keep` the log's.
TARGETS = "the target model's answer with the prompt: its first, readable"
LOGS = "the first answer in the user's log, readable"
# What Markdown or HTML takes for something else than itself, within a line and at its start.
MARKDOWN = re.compile(r"[\\`*\[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
LINE_START = re.compile(r"^(\s*\d*)([#.)+=-])(?=\s|[#=-]|$)", re.MULTILINE)


def dataset_card(
    config: dict[str, Any], summary: Summary, models: dict[str, dict[str, str]]
) -> str:
    """The text of README.md.

    Args:
        config: what is in synth.yaml.
        summary: the run's counts.
        models: by role ("target", "generator"), what the engine knows its model by.
    """
    task = config["task"]
    # Without `configs`: `datasets` finds the files by their names. It would know a local folder by
    # its name and these lines alone, and go on giving the rows that it once read from them.
    front = {
        "pretty_name": task["name"],
        "tags": ["synthetic", "axolotl-genpi", "prompt-internalization"],
    }
    stages = "\n".join(
        f"| {stage} | {done} | {rejected.total()} | {_line(counted(rejected))} | "
        f"{summary.failed.get(stage, 0)} |"
        for stage, done in summary.done.items()
        for rejected in [summary.rejected.get(stage) or type(summary.ends)()]
    )
    kept = (config["inputs_file"] or {}).get("answers") == "keep"
    return CARD.format(
        ids=OWN_IDS if config["inputs_file"] else CONTENT_IDS,
        answer=LOGS if kept else TARGETS,
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        name=_line(task["name"]),
        description=f"{_text(task['description'])}\n\n" if task["description"] else "",
        counts=", ".join(f"{count} {split}" for split, count in summary.splits.items()) + ".",
        provenance="\n".join(
            f"| {key} | {value} |" for key, value in _provenance(config, models, summary.stages)
        ),
        stages=stages,
        remarks="\n".join(f"- {_line(line)}" for line in remarks(summary)),
        command=_block(config["run"]["command"]),
    )


def _text(text: str) -> str:
    """A text as Markdown shows it: no markup, no HTML, whatever it holds."""
    escaped = MARKDOWN.sub(
        lambda found: {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(found[0], "\\" + found[0]),
        visible(text),
    )
    return LINE_START.sub(r"\1\\\2", escaped)


def _line(text: str) -> str:
    """The same as one line, which a table's cell has to be."""
    return " ".join(_text(text).split())


def _code(text: str) -> str:
    """A text as code in a line or a cell: behind more backticks than it holds in a row."""
    line = " ".join(visible(text).split()).replace("|", "\\|")
    fence = "`" * (_most_backticks(line) + 1)
    edge = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{edge}{line}{edge}{fence}"


def _block(text: str) -> str:
    """A text as a block of code."""
    fence = "`" * max(_most_backticks(text) + 1, 3)
    return f"{fence}\n{visible(text)}\n{fence}"


def _most_backticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _provenance(
    config: dict[str, Any], models: dict[str, dict[str, str]], stages: Sequence[str]
) -> list[tuple[str, str]]:
    task = config["task"]
    lines = [
        ("prompt", f"{_code(config['prompt']['id'])}, SHA-256 `{config['prompt']['sha256']}`"),
        ("target (floor and teacher)", _model(config["target"], models["target"])),
        (
            "generator (inputs, reasons, environment)",
            _model(config["generator"], models["generator"]),
        ),
    ]
    for stage in stages:
        settings = task.get(stage)
        if settings is None:  # a stage of the user's own
            continue
        lines.append(
            (
                f"sampling: {stage}",
                f"temperature {settings['temperature']}, top_p {settings['top_p']}, "
                f"max_tokens {settings['max_tokens']}",
            )
        )
    lines += [
        (f"code: `{name}`", f"SHA-256 `{sha256}`")
        for name, sha256 in config.get("code", {}).items()
    ]
    if config["inputs_file"]:
        given = config["inputs_file"]
        lines.append(("inputs from", f"{_code(given['name'])}, SHA-256 `{given['sha256']}`"))
    lines.append(("seed", str(config["seed"])))
    versions = config["run"]["versions"]
    lines.append(("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    return lines


def _model(described: dict[str, Any], identity: dict[str, str]) -> str:
    known = "".join(
        f", {name} {_code(value)}" for name, value in identity.items() if name != "model"
    )
    return f"{_code(described['model'])} ({described['engine']}){known}"
