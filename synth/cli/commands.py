"""The command line: `python -m synth`."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler

from synth.cli.folder import FOLDER_COMMANDS
from synth.cli.options import (
    FAILURE_OPTION,
    MODEL_OPTIONS,
    PRICE_OPTIONS,
    PROGRAM,
    RAY_OPTIONS,
    TASK_OPTIONS,
    examples,
)
from synth.errors import SynthError

ARGUMENTS = "synth.arguments"
PRICES = ("price_in", "price_out", "generator_price_in", "generator_price_out")


class Commands(click.Group):
    """A group that tells a user's mistake without a traceback."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:  # fmt: skip
        """Note the arguments as they were given: the card names the command."""
        given = list(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[ARGUMENTS] = given
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend is told as cause and cure, with exit code 1."""
        try:
            return super().invoke(ctx)
        except SynthError as error:
            _print_error(error.cause, error.cure)
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when nobody reads on
                raise
            _print_error(f"{error}.", "Check the path, its permissions and the disk's space.")
        return ctx.exit(1)


@click.group(cls=Commands, context_settings={"max_content_width": 100})
def main() -> None:
    """From a prompt to a dataset that internalizes it.

    A TASK is a prompt and a task.yml: the name of one that comes with the package, or a folder.
    """


main.epilog = examples(
    "init my-task --prompt my_prompt.md",
    "preview webshop --model HuggingFaceTB/SmolLM2-135M-Instruct",
    "preflight webshop --model HuggingFaceTB/SmolLM2-135M-Instruct",
    "run webshop --model meta-llama/Meta-Llama-3-8B-Instruct -o data/webshop",
    "push data/webshop --repo my-name/webshop --dry-run",
)


@main.command(epilog=examples("init my-task --prompt my_prompt.md"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--prompt", required=True, type=click.Path(path_type=Path),
              help="The prompt: .md (plain text), .txt (also a transcript with <USER>: and "
              "<AGENT>: markers), .yml or .json (a list of {role, content}).")  # fmt: skip
def init(folder: Path, prompt: Path) -> None:
    """Write a task folder: the prompt, and a task.yml with every key explained."""
    from synth.task.scaffold import init_task

    path = init_task(folder, prompt)
    click.echo(f"Wrote {path}. Put a few seeds into it, then: {PROGRAM} validate {_named(folder)}")


@main.command(
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
    console = _stdout()
    print_task(loaded, console)
    if models["model"]:
        teacher, floor = prompt_tokens(loaded, _settings(models))
        counted = "how many tokens it has, the server does not say"
        if teacher is not None and floor is not None:
            counted = f"a short input is {teacher} tokens with it, {floor} without"
        console.print(f"The model takes the prompt: {counted}.", highlight=False)
    console.print("Valid.", style="green")


@main.command(
    epilog=examples(
        "preview webshop --model HuggingFaceTB/SmolLM2-135M-Instruct -n 3",
        "preview my-task/ --model my-model --base-url http://localhost:8000/v1",
    )
)
@click.argument("task")
@MODEL_OPTIONS
@TASK_OPTIONS
@click.option("-n", "--count", default=3, show_default=True, type=click.IntRange(1),
              help="How many rows.")  # fmt: skip
def preview(
    task: str,
    count: int,
    inputs_file: Path | None,
    seed: int,
    max_turns: int | None,
    sets: tuple[str, ...],
    **models: Any,
) -> None:
    """Make a few rows as `run` would and print them; nothing is kept."""
    from synth.cli.show import print_rejection, print_row
    from synth.dataset.summary import print_summary
    from synth.running.run import preview as make

    loaded = _load(task, sets, count, max_turns, None, inputs_file)
    settings = _settings(models, seed, inputs_file)
    _log_to(_stderr())
    console = _stdout()
    try:
        summary = make(
            loaded,
            settings,
            _stderr(),
            lambda row: print_row(row, console),
            lambda rejection: print_rejection(rejection, console),
        )
    except KeyboardInterrupt:
        _interrupted("")
    print_summary(summary, console)


@main.command(
    epilog=examples(
        "run webshop --model meta-llama/Meta-Llama-3-8B-Instruct -o data/webshop",
        "run webshop --model my-model --base-url http://localhost:8000/v1 -n 200",
        "run my-task/ --model HuggingFaceTB/SmolLM2-135M-Instruct --inputs requests.jsonl",
        "run os --model my-model --base-url http://localhost:8000/v1 "
        "--generator-model gpt-4o --generator-base-url https://api.openai.com/v1",
        "run webshop --model my-model --base-url http://one:8000/v1 --base-url http://two:8000/v1",
        "run webshop --model meta-llama/Meta-Llama-3-8B-Instruct --ray",
    )
)
@click.argument("task")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The dataset's folder. [default: data/NAME OF THE TASK]",
)
@MODEL_OPTIONS
@TASK_OPTIONS
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1),
    help="How many inputs. [default: inputs.count of the task; with --inputs, all]",
)
@click.option("--test-share", type=float, help="Share of rows held out. [default: split.test]")
@RAY_OPTIONS
@FAILURE_OPTION
@PRICE_OPTIONS
@click.option("--resume", type=click.Choice(["same", "changed"]), default="same",
              show_default=True,
              help="Whether an earlier run in the folder may have had other settings.")  # fmt: skip
@click.pass_context
def run(
    context: click.Context,
    task: str,
    output: Path | None,
    count: int | None,
    test_share: float | None,
    resume: str,
    max_failure_rate: float,
    ray: str | None,
    ray_workers: int | None,
    inputs_file: Path | None,
    seed: int,
    max_turns: int | None,
    sets: tuple[str, ...],
    **models: Any,
) -> None:
    """Make the dataset. Stopped or killed, the same command goes on where it was."""
    from synth.dataset.summary import next_step, print_summary
    from synth.running.run import run as make

    loaded = _load(task, sets, count, max_turns, test_share, inputs_file)
    command = f"{PROGRAM} {shlex.join(context.find_root().meta[ARGUMENTS])}"
    settings = replace(
        _settings(models, seed, inputs_file, command),
        max_failure_rate=max_failure_rate,
        ray=ray,
        ray_workers=ray_workers,
    )
    folder = output or Path("data") / loaded.config.name
    _log_to(_stderr())
    try:
        summary = make(loaded, settings, folder, _stderr(), resume == "changed")
    except KeyboardInterrupt:
        _interrupted(f"Every answer so far is kept. To go on, run the same command again:\n"
                     f"  {settings.command}")  # fmt: skip
    console = _stdout()
    print_summary(summary, console)
    summary.check_whole()
    splits = ", ".join(f"{rows} {split}" for split, rows in summary.splits.items())
    console.print(f"{summary.rows} rows ({splits}) in {folder}", style="green", highlight=False,
                  markup=False, soft_wrap=True)  # fmt: skip
    console.print(next_step(loaded, folder), markup=False, highlight=False)


@main.command(
    epilog=examples(
        "preflight webshop --model HuggingFaceTB/SmolLM2-135M-Instruct",
        "preflight my-task/ --model my-model --base-url http://localhost:8000/v1 -n 30",
    )
)
@click.argument("task")
@MODEL_OPTIONS
@TASK_OPTIONS
@PRICE_OPTIONS
@click.option("-n", "--count", default=20, show_default=True, type=click.IntRange(1),
              help="How many inputs to look at.")  # fmt: skip
def preflight(
    task: str,
    count: int,
    inputs_file: Path | None,
    seed: int,
    max_turns: int | None,
    sets: tuple[str, ...],
    **models: Any,
) -> None:
    """Look, from a few inputs, whether a long run is worth its money; nothing is kept.

    Does the prompt change the answers, does the chat template give an answer the same tokens
    with and without the prompt, do prompt and reason fit the model, what will the run cost? Ends
    with exit code 0 when nothing speaks against the run, and with 3 when something does.
    """
    from synth.preflight.run import run_preflight
    from synth.preflight.show import print_preflight

    loaded = _load(task, sets, None, max_turns, None, inputs_file)
    settings = _settings(models, seed, inputs_file)
    _log_to(_stderr())
    try:
        found = run_preflight(loaded, settings, count, _stderr())
    except KeyboardInterrupt:
        _interrupted("")
    print_preflight(found, _stdout())
    sys.exit(0 if found.go else 3)


for _command in FOLDER_COMMANDS:
    main.add_command(_command)


def _load(
    task: str,
    sets: tuple[str, ...],
    count: int | None,
    max_turns: int | None,
    test_share: float | None,
    inputs_file: Path | None,
) -> Any:
    from synth.task.inputs.lines import read_inputs
    from synth.task.taskfile import load_task, parse_override

    overrides = dict(parse_override(text) for text in sets)
    if count is None and inputs_file is not None and "inputs.count" not in overrides:
        count = len(read_inputs(inputs_file).texts)
    for key, value in (
        ("inputs.count", count),
        ("conversations.max_turns", max_turns),
        ("split.test", test_share),
    ):
        if value is not None:
            overrides[key] = value
    return load_task(task, overrides)


def _settings(
    models: dict[str, Any],
    seed: int = 0,
    inputs_file: Path | None = None,
    command: str = "",
) -> Any:
    from synth.engines.models import model_specs
    from synth.engines.server.urls import without_login
    from synth.progress.prices import Prices
    from synth.running.run import RunSettings

    target, generator = model_specs(**models)
    for url in (*models["base_url"], *models["generator_base_url"]):
        command = command.replace(url, without_login(url))
    return RunSettings(
        target,
        generator,
        seed,
        inputs_file,
        models["concurrency"],
        models["batch_size"],
        command,
        prices=Prices(*(models.get(name) for name in PRICES)),
    )


def _print_error(cause: str, cure: str) -> None:
    console = _stderr()
    console.print(f"Error: {cause}", style="bold red", markup=False, highlight=False,
                  soft_wrap=True)  # fmt: skip
    if cure:
        console.print(f"What to do: {cure}", markup=False, highlight=False, soft_wrap=True)


def _log_to(console: Console) -> None:
    logger = logging.getLogger("synth")
    logger.setLevel(logging.INFO)
    handler: logging.Handler
    if console.is_terminal:
        # Through rich, so that a line does not tear the live table.
        handler = RichHandler(console=console, show_path=False, show_level=False, markup=False)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    # What stops a run is told once, by `Commands.invoke`; run.log has it, too.
    handler.addFilter(lambda record: record.levelno < logging.ERROR)
    logger.handlers[:] = [handler]


def _interrupted(words: str) -> None:
    click.echo(f"\nInterrupted. {words}".rstrip(), err=True)
    sys.exit(130)


def _named(folder: Path) -> str:
    from synth.task.taskfile import shipped_tasks

    text = str(folder)
    return os.path.join(".", text) if text in shipped_tasks() else text


def _stdout() -> Console:
    return Console()


def _stderr() -> Console:
    return Console(stderr=True)
