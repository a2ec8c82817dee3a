"""The command line: `python -m synth`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from genpi_plugin.data.inputs.given import Reading
from synth.cli.folder import FOLDER_COMMANDS
from synth.cli.group import ARGUMENTS, Commands, exit_on_interrupt, log_to, stderr, stdout
from synth.cli.options import (
    FAILURE_OPTION,
    LIMIT_OPTIONS,
    LOGPROBS_OPTION,
    MODEL_OPTIONS,
    PRICE_OPTIONS,
    RAY_OPTIONS,
    TASK_OPTIONS,
    examples,
)
from synth.cli.settings import load, run_settings
from synth.cli.task import TASK_COMMANDS


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


@main.command(
    epilog=examples(
        "preview webshop --model HuggingFaceTB/SmolLM2-135M-Instruct -n 3",
        "preview my-task/ --model my-model --base-url http://localhost:8000/v1",
    )
)
@click.argument("task")
@MODEL_OPTIONS
@TASK_OPTIONS
@LOGPROBS_OPTION
@click.option("-n", "--count", default=3, show_default=True, type=click.IntRange(1),
              help="How many rows.")  # fmt: skip
def preview(
    task: str,
    count: int,
    inputs_file: Path | None,
    input_column: str,
    input_split: str,
    answers: str,
    seed: int,
    max_turns: int | None,
    sets: tuple[str, ...],
    logprobs: int | None,
    **models: Any,
) -> None:
    """Make a few rows as `run` would and print them; nothing is kept."""
    from synth.cli.show import print_rejection, print_row
    from synth.dataset.summary import print_summary
    from synth.running.run import preview as make

    reading = Reading(input_column, input_split, answers)
    loaded = load(task, sets, count, max_turns, None, inputs_file, reading, logprobs)
    settings = run_settings(models, seed, inputs_file, reading)
    log_to(stderr())
    console = stdout()
    with exit_on_interrupt():
        summary = make(
            loaded,
            settings,
            stderr(),
            lambda row: print_row(row, console),
            lambda rejection: print_rejection(rejection, console),
        )
    print_summary(summary, console)


@main.command(
    epilog=examples(
        "run webshop --model meta-llama/Meta-Llama-3-8B-Instruct -o data/webshop",
        "run webshop --model my-model --base-url http://localhost:8000/v1 -n 200",
        "run my-task/ --model HuggingFaceTB/SmolLM2-135M-Instruct --inputs requests.jsonl",
        "run my-task/ --model my-model --base-url http://localhost:8000/v1 --inputs logs.jsonl",
        "run os --model my-model --base-url http://localhost:8000/v1 "
        "--generator-model gpt-4o --generator-base-url https://api.openai.com/v1",
        "run webshop --model my-model --base-url http://one:8000/v1 --base-url http://two:8000/v1",
        "run webshop --model meta-llama/Meta-Llama-3-8B-Instruct --ray",
        "run webshop --model my-model --base-url http://localhost:8000/v1 --logprobs 20 "
        "--tokenizer models/my-model",
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
@LOGPROBS_OPTION
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
@LIMIT_OPTIONS
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
    max_cost: float | None,
    max_tokens_total: int | None,
    ray: str | None,
    ray_workers: int | None,
    inputs_file: Path | None,
    input_column: str,
    input_split: str,
    answers: str,
    seed: int,
    max_turns: int | None,
    sets: tuple[str, ...],
    logprobs: int | None,
    **models: Any,
) -> None:
    """Make the dataset. Stopped or killed, the same command goes on where it was.

    Exit code 0: the dataset is whole. 1: an error, or rows are left that were not answered. 4: a
    limit of cost or tokens is reached. 130: stopped with Ctrl-C.
    """
    from synth.cli.show import print_result
    from synth.running.budget import SpendingLimits
    from synth.running.run import run as make
    from synth.running.target import arguments_line, template_arguments

    reading = Reading(input_column, input_split, answers)
    loaded = load(task, sets, count, max_turns, test_share, inputs_file, reading, logprobs)
    settings = replace(
        run_settings(models, seed, inputs_file, reading, context.find_root().meta[ARGUMENTS]),
        max_failure_rate=max_failure_rate,
        limits=SpendingLimits(max_cost, max_tokens_total),
        ray=ray,
        ray_workers=ray_workers,
    )
    folder = output or Path("data") / loaded.config.name
    log_to(stderr())
    with exit_on_interrupt(
        f"Every answer so far is kept. To go on, run the same command again:\n  {settings.command}"
    ):
        summary = make(loaded, settings, folder, stderr(), resume == "changed")
    arguments = arguments_line(folder, template_arguments(loaded, settings.target))
    print_result(summary, loaded, folder, stdout(), arguments)


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
    input_column: str,
    input_split: str,
    answers: str,
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

    reading = Reading(input_column, input_split, answers)
    loaded = load(task, sets, None, max_turns, None, inputs_file, reading)
    settings = run_settings(models, seed, inputs_file, reading)
    log_to(stderr())
    with exit_on_interrupt():
        found = run_preflight(loaded, settings, count, stderr())
    print_preflight(found, stdout())
    sys.exit(0 if found.go else 3)


for _command in (*TASK_COMMANDS, *FOLDER_COMMANDS):
    main.add_command(_command)
