"""Commands on a task before anything is made of it: init, validate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from synth.cli.group import exit_on_interrupt, log_to, stderr, stdout
from synth.cli.options import MODEL_OPTIONS, PROGRAM, examples
from synth.cli.settings import named, run_settings


@click.command(
    epilog=examples(
        "init my-task --prompt my_prompt.md",
        "init my-task --prompt my_prompt.md --model HuggingFaceTB/SmolLM2-135M-Instruct",
        "init my-task --prompt my_prompt.md --tools my_tools.json",
        "init my-task --prompt my_prompt.md --model my-model --base-url http://localhost:8000/v1",
    )
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--prompt", required=True, type=click.Path(path_type=Path),
              help="The prompt: .md (plain text), .txt (also a transcript with <USER>: and "
              "<AGENT>: markers), .yml or .json (a list of messages, calls of tools "
              "among them).")  # fmt: skip
@click.option("--tools", type=click.Path(path_type=Path),
              help="The tools that go with the prompt: a JSON list of schemas in OpenAI's "
              "form.")  # fmt: skip
@MODEL_OPTIONS
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0),
              help="Of what is drawn for the draft.")  # fmt: skip
def init(folder: Path, prompt: Path, tools: Path | None, seed: int, **models: Any) -> None:
    """Write a task folder: the prompt, and a task.yml with every key explained.

    With --model it is filled in: what the prompt's own examples show (seeds, the form of an input,
    patterns of the agent's actions), and what a model drafts (more seeds, personas and topics, who
    answers the agent, when it ends). Each value says where it comes from; read them, and change
    what is not right.
    """
    from synth.cli.show import print_draft
    from synth.drafting.init import init_drafted
    from synth.task.scaffold import init_task

    if not models["model"]:
        path = init_task(folder, prompt, tools)
        click.echo(f"Wrote {path}. Put a few seeds into it (--model MODEL drafts some), then: "
                   f"{PROGRAM} validate {named(folder)}")  # fmt: skip
        return
    settings = run_settings(models, seed)
    log_to(stderr())
    with exit_on_interrupt("Nothing was written."):
        path, draft = init_drafted(folder, prompt, settings, tools)
    console = stdout()
    print_draft(draft, console)
    seeds = any(one.key == "inputs.seeds" for one in draft.values)
    then = "Read it, change what is not right" if seeds else "Put a few seeds into it"
    console.print(f"Wrote {path}. {then}, then: {PROGRAM} validate {named(folder)}",
                  markup=False, highlight=False, soft_wrap=True)  # fmt: skip


@click.command(
    epilog=examples(
        "validate webshop", "validate my-task/ --model HuggingFaceTB/SmolLM2-135M-Instruct"
    )
)
@click.argument("task")
@MODEL_OPTIONS
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE",
              help="Replace a value of task.yml.")  # fmt: skip
def validate(task: str, sets: tuple[str, ...], **models: Any) -> None:
    """Check a task; with --model, also that the model takes the prompt."""
    from synth.cli.show import print_task
    from synth.running.prompt_check import prompt_tokens
    from synth.task.taskfile import load_task, parse_override

    loaded = load_task(task, dict(parse_override(text) for text in sets))
    console = stdout()
    print_task(loaded, console)
    if models["model"]:
        teacher, floor = prompt_tokens(loaded, run_settings(models))
        counted = "how many tokens it has, the server does not say"
        if teacher is not None and floor is not None:
            counted = f"a short input is {teacher} tokens with it, {floor} without"
        console.print(f"The model takes the prompt: {counted}.", highlight=False)
    console.print("Valid.", style="green")


TASK_COMMANDS = (init, validate)
