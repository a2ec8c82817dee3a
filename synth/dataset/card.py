"""The dataset card: what the folder holds, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from synth.dataset.summary import Summary, counted, remarks

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
| `id`, `prompt_id` | known by content: the same input and prompt have the same ids anywhere |
| `prompt` | the messages to internalize |
| `input` | what a user sends |
| `floor_output` | the target model's answer without the prompt |
| `teacher_output` | the target model's answer with the prompt |
| `reason` | why the prompt changes the answer |
| `conversation` | how it goes on after the input: assistant, user, assistant ... |

## Provenance

| | |
|---|---|
{provenance}

## Stages

| stage | made | rejected | why | not answered yet |
|---|---|---|---|---|
{stages}

{remarks}

Rejected rows are in `rejected.jsonl`, each with its reason. `synth.yaml` holds every setting,
`report.html` shows the figures and some rows, `run.json` says what it took.

## The command

```
{command}
```
"""


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
        f"| {stage} | {done} | {rejected.total()} | {counted(rejected)} | "
        f"{summary.failed.get(stage, 0)} |"
        for stage, done in summary.done.items()
        for rejected in [summary.rejected.get(stage) or type(summary.ends)()]
    )
    return CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        name=task["name"],
        description=f"{task['description']}\n\n" if task["description"] else "",
        counts=", ".join(f"{count} {split}" for split, count in summary.splits.items()) + ".",
        provenance="\n".join(
            f"| {key} | {value} |" for key, value in _provenance(config, models, summary.stages)
        ),
        stages=stages,
        remarks="\n".join(f"- {line}" for line in remarks(summary)),
        command=config["run"]["command"],
    )


def _provenance(
    config: dict[str, Any], models: dict[str, dict[str, str]], stages: Sequence[str]
) -> list[tuple[str, str]]:
    task = config["task"]
    lines = [
        ("prompt", f"`{config['prompt']['id']}`, SHA-256 `{config['prompt']['sha256']}`"),
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
        lines.append(("inputs from", f"`{given['name']}`, SHA-256 `{given['sha256']}`"))
    lines.append(("seed", str(config["seed"])))
    versions = config["run"]["versions"]
    lines.append(("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    return lines


def _model(described: dict[str, Any], identity: dict[str, str]) -> str:
    known = "".join(f", {name} `{value}`" for name, value in identity.items() if name != "model")
    return f"`{described['model']}` ({described['engine']}){known}"
