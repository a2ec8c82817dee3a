"""`axolotl genpi-template CONFIG.yml -o chat_template.jinja`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from genpi_plugin.serving.patterns import Internalized
    from genpi_plugin.serving.write import Written

EXAMPLES = """
\b
Examples:
  axolotl genpi-template recipes/genpi_demo.yml -o chat_template.jinja
  axolotl genpi-template my.yml -o outputs/my/merged
  axolotl genpi-template my.yml --any-system --any-tools -o chat_template.jinja
"""


@click.command(name="genpi-template", epilog=EXAMPLES)
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write, or the folder of a merged model, whose template it becomes.",
)
@click.option(
    "--adapter",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the adapter. Default: the config's `output_dir`.",
)
@click.option(
    "--any-system",
    is_flag=True,
    help="Leave out whatever system messages a request begins with. Default: only the "
    "internalized prompt; the model goes on obeying any other.",
)
@click.option(
    "--any-tools",
    is_flag=True,
    help="Leave out whatever tools a request has. Default: all tools of a prompt that is left out.",
)
def main(
    config: Path, output: Path, adapter: Path | None, any_system: bool, any_tools: bool
) -> None:
    """Write a chat template for applications that still send the prompt.

    It is the base model's, and takes the internalized prompt and tools out of a request: the
    application sends what it always sent, and the model reads the short request that it was
    trained with. Requests without the prompt, or with another one, are rendered as before.
    """
    from genpi_plugin.errors import GenPIError
    from genpi_plugin.serving.write import write_template

    try:
        done = write_template(config, output, adapter, any_system, any_tools)
    except GenPIError as error:
        raise click.ClickException(str(error)) from error
    for line in _told(done, any_system, any_tools):
        click.echo(line)


def _told(done: Written, any_system: bool, any_tools: bool) -> list[str]:
    lines = [f"Note: {note}" for note in done.notes]
    lines += [f"Left out of requests: {_named(one)}." for one in done.internalized]
    if any_system:
        lines.append("Left out, too: any other system messages that a request begins with.")
    if any_tools:
        lines.append("Left out, too: any other tools.")
    tried = done.checked
    lengths = f"{tried.after} tokens"
    lengths += f" in place of {tried.before}" if tried.before else ""
    lines.append(
        f"Checked with {tried.rows - tried.untold} rows: with the prompt, each gives the request "
        f"that the adapter was trained with (the first has {lengths})."
    )
    if tried.untold:
        lines.append(
            f"In {tried.untold} other rows the values of the slots can't be told from the prompt "
            "they are filled into: such requests keep the whole prompt."
        )
    lines.append(f"Wrote {done.path}.")
    if done.holds_texts:
        lines.append("It holds the text of the prompt: give it to servers, and do not publish it.")
    return lines


def _named(one: Internalized) -> str:
    turns, tools = len(one.prompt), len(one.tools)
    parts = [f"{turns} message{'s' if turns > 1 else ''}"]
    parts += [f"{tools} tool{'s' if tools > 1 else ''}"] if tools else []
    return f"the prompt {one.prompt_id!r} ({' and '.join(parts)})"
