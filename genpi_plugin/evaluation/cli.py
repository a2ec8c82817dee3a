"""`axolotl genpi-eval CONFIG.yml`, also `python -m genpi_plugin.evaluation`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from genpi_plugin.data.inputs.turns import ANSWERS, ASK

EXAMPLES = """
\b
Examples:
  axolotl genpi-eval recipes/genpi_demo.yml
  axolotl genpi-eval recipes/genpi_webshop.yml --inputs real_requests.jsonl -o report/
  axolotl genpi-eval my.yml --adapter outputs/a --adapter outputs/b --also-prompt short.md
  axolotl genpi-eval my.yml --inputs real_requests.jsonl --checkpoints --skip cost
  axolotl genpi-eval my.yml --inputs logs.jsonl --answers last
  axolotl genpi-eval my.yml --benchmarks ifeval,gsm8k --benchmark-limit 100
  axolotl genpi-eval my.yml --require 'internalization>=0.8' --require 'valid.retention>=0.95'
"""
SECTIONS = ("turns", "recitation", "clauses", "drift", "disclosure", "cost", "benchmarks")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _listed(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = (name.strip() for value in values for name in value.split(",") if name.strip())
    return tuple(dict.fromkeys(names))


def _names(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    names = _listed(context, parameter, values)
    for name in names:
        if name not in SECTIONS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(SECTIONS)}.")
    return names


@click.command(name="genpi-eval", epilog=EXAMPLES)
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of an adapter, or of a whole model that was trained from the base model; several "
    "are compared. Default: the config's `output_dir`.",
)
@click.option(
    "--inputs",
    "inputs_file",
    type=click.Path(path_type=Path),
    help="Held-out inputs: one a line, .jsonl, .json, .csv, .tsv, .parquet, a dataset's folder or "
    "name on the hub; texts, or logs of conversations. Default: the test split.",
)
@click.option("--input-column", default="", help="The column, or key, that holds the inputs.")
@click.option("--input-split", default="", help="The split of a dataset that holds the inputs.")
@click.option(
    "--answers",
    type=click.Choice(ANSWERS),
    default=ASK,
    show_default=True,
    help="What of a log is an input: ask: each of its answers; last: its last answer; keep: its "
    "first, and its conversation is measured turn by turn.",
)
@click.option(
    "--also-prompt",
    "also_prompts",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another prompt to compare with, such as a shortened one: .md, .txt, .yml or .json. May "
    "be given several times.",
)
@click.option(
    "--checkpoints",
    "with_checkpoints",
    is_flag=True,
    help="Internalization of each checkpoint of the run, on inputs outside the test split.",
)
@click.option(
    "--skip",
    multiple=True,
    callback=_names,
    metavar="SECTION,...",
    help=f"Leave sections out: {', '.join(SECTIONS)}.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Use the first N inputs only.")
@click.option(
    "--action-pattern", help="Regular expression of a well-formed action. Default: the task's."
)
@click.option(
    "--scores",
    "scores_file",
    type=FILE,
    help="YAML file of task scores: regular expressions, JSON schemas, functions. Default: the "
    "task's `scores:`.",
)
@click.option("--max-new-tokens", default=256, show_default=True, help="Limit of an answer.")
@click.option(
    "--recitals",
    default=3,
    show_default=True,
    type=click.IntRange(min=0),
    help="How often to ask for the prompt.",
)
@click.option(
    "--clause-file", type=FILE, help="Clauses of your own. Default: found from the prompt's layout."
)
@click.option(
    "--general", type=FILE, help="Inputs that the prompt is not about. Default: those shipped."
)
@click.option("--attacks", type=FILE, help="More requests that try to extract the prompt.")
@click.option(
    "--benchmarks",
    multiple=True,
    callback=_listed,
    metavar="TASK,...",
    help="Run floor and students on these tasks of lm-evaluation-harness, by name (ifeval) or as "
    "YAML files.",
)
@click.option(
    "--benchmark-limit", type=click.IntRange(min=1), help="The first N items of each benchmark."
)
@click.option("--server", metavar="URL", help="Measure cost on an OpenAI-compatible server.")
@click.option("--server-model", help="The base model's name there. Default: the config's.")
@click.option("--server-adapter", help="The adapter's name there, if it is served too.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--require",
    "required",
    multiple=True,
    metavar="FIGURE>=NUMBER",
    help="Exit with status 1 unless the figure's whole 95 % interval meets the limit, for example "
    "'internalization>=0.9' or 'valid.retention>=0.95'. May be given several times.",
)
@click.option("--base-model", help="A base model other than the config's.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the report. Default: `report` in the config's output_dir.",
)
def main(
    required: tuple[str, ...],
    input_column: str,
    input_split: str,
    answers: str,
    recitals: int,
    clause_file: Path | None,
    general: Path | None,
    attacks: Path | None,
    benchmarks: tuple[str, ...],
    benchmark_limit: int | None,
    server: str | None,
    server_model: str | None,
    server_adapter: str | None,
    **settings: Any,
) -> None:
    """Report how much of the prompt is in the adapter.

    Floor (no prompt), teacher (prompt) and student (adapter, no prompt) answer the same held-out
    inputs; the report gives the share of the prompt's effect that the adapter took over, the
    task's scores, and the prompt as the adapter recites it, each with a 95 % interval. Results
    of earlier evaluations are reused where nothing they depend on has changed.
    """
    from genpi_plugin.data.inputs.given import Reading
    from genpi_plugin.errors import GenPIError
    from genpi_plugin.evaluation.gate import parse_requirement, shortfalls
    from genpi_plugin.evaluation.measuring.context import Options
    from genpi_plugin.evaluation.run import evaluate
    from genpi_plugin.evaluation.settings import Settings

    try:
        requirements = tuple(parse_requirement(text) for text in required)
        metrics = evaluate(
            Settings(
                options=Options(
                    recitals,
                    clause_file,
                    general,
                    attacks,
                    server,
                    server_model,
                    server_adapter,
                    benchmarks=benchmarks,
                    benchmark_limit=benchmark_limit,
                ),
                reading=Reading(input_column, input_split, answers),
                requirements=requirements,
                command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
                **settings,
            )
        )
    except GenPIError as error:
        raise click.ClickException(str(error)) from error
    if short := shortfalls(requirements, metrics):
        raise click.ClickException("not met: " + "; ".join(short))
