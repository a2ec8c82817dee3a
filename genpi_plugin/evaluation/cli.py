"""`axolotl genpi-eval CONFIG.yml`, also `python -m genpi_plugin.evaluation`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EXAMPLES = """
\b
Examples:
  axolotl genpi-eval recipes/genpi_demo.yml
  axolotl genpi-eval recipes/genpi_webshop.yml --inputs real_requests.jsonl -o report/
  axolotl genpi-eval my.yml --adapter outputs/my/checkpoint-100 --limit 50
  axolotl genpi-eval my.yml --require 'internalization>=0.8' --require 'valid.retention>=0.95'
"""


@click.command(name="genpi-eval", epilog=EXAMPLES)
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    help="Folder of the adapter. Default: the config's `output_dir`.",
)
@click.option(
    "--inputs",
    "inputs_file",
    type=click.Path(path_type=Path),
    help="Held-out inputs: .jsonl with an `input` field, or one a line. Default: the test split.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Use the first N inputs only.")
@click.option(
    "--action-pattern", help="Regular expression of a well-formed action. Default: the task's."
)
@click.option("--max-new-tokens", default=256, show_default=True, help="Limit of an answer.")
@click.option("--recitals", default=3, show_default=True, help="How often to ask for the prompt.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--require",
    "required",
    multiple=True,
    metavar="FIGURE>=NUMBER",
    help="Exit with status 1 unless the figure's whole 95 % interval keeps the limit, for example "
    "'internalization>=0.9' or 'valid.retention>=0.95'. May be given several times.",
)
@click.option("--base-model", help="Another base model than the config's.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the report. Default: `report` in the config's output_dir.",
)
def main(config: Path, base_model: str | None, required: tuple[str, ...], **options: Any) -> None:
    """Say how much of the prompt is in the adapter.

    Floor (no prompt), teacher (prompt) and student (adapter, no prompt) answer the same held-out
    inputs; the report gives the share of the prompt's effect that the adapter took over, the
    task's scores, and the prompt as the adapter recites it, each with a 95 % interval.
    """
    from ..errors import GenPIError
    from .gate import parse_requirement, shortfalls
    from .run import evaluate

    overrides = {"base_model": base_model} if base_model else {}
    try:
        requirements = [parse_requirement(text) for text in required]
        metrics = evaluate(config, overrides, requirements=requirements, **options)
    except GenPIError as error:
        raise click.ClickException(str(error)) from error
    if short := shortfalls(requirements, metrics):
        raise click.ClickException("not shown: " + "; ".join(short))
