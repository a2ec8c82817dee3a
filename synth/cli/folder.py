"""Commands on a folder that a run has made: status, report, export, push."""

from __future__ import annotations

from pathlib import Path

import click

from synth.cli.group import stdout
from synth.cli.options import examples

FOLDER = click.argument("folder", type=click.Path(path_type=Path))


@click.command(epilog=examples("status data/webshop"))
@FOLDER
def status(folder: Path) -> None:
    """Tell how far the run in a folder is."""
    from synth.cli.show import print_status

    print_status(folder, stdout())


@click.command(epilog=examples("report data/webshop"))
@FOLDER
def report(folder: Path) -> None:
    """Write report.html anew: figures and rows on one page that opens offline.

    `run` writes it at its end; this is for a run that is still at work or was stopped.
    """
    from synth.report.page import write_report

    click.echo(f"Wrote {write_report(folder)}")


@click.command(
    epilog=examples(
        "export data/webshop --official-schema -o data/webshop-official",
        "export data/webshop --format jsonl -o data/webshop-jsonl",
        "export data/webshop --format messages -o data/webshop-chats",
    )
)
@FOLDER
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path),
              help="A folder that is not there yet.")  # fmt: skip
@click.option("--official-schema", is_flag=True,
              help="With the field names and the prompt's transcript of the official GenPI "
              "scripts, which read what `--format disk` writes.")  # fmt: skip
@click.option("--format", "form",
              type=click.Choice(["disk", "parquet", "jsonl", "messages", "sharegpt", "openai"]),
              default="disk", show_default=True,
              help="disk: `datasets.load_from_disk`, which needs datasets. The last three are "
              "plain conversations as JSON Lines, for ordinary fine-tuning.")  # fmt: skip
@click.option("--with-prompt", is_flag=True,
              help="Begin plain conversations with the prompt. [default: without]")  # fmt: skip
def export(folder: Path, output: Path, official_schema: bool, form: str, with_prompt: bool) -> None:
    """Write the dataset in another form."""
    from synth.dataset.official import export_folder, rows_without_reason

    made = export_folder(folder, output, official_schema, form, with_prompt)
    for split, rows in made.items():
        click.echo(f"{rows} {split} rows")
    click.echo(f"Wrote {output}")
    if official_schema and (without := rows_without_reason(folder)):
        click.echo(
            f"Note: {without} rows have no reason. The official scripts want one in every row: "
            "make the dataset with --set reasons.share=1, or leave these rows out."
        )


@click.command(
    epilog=examples(
        "push data/webshop --repo my-name/webshop --dry-run",
        "push data/webshop --repo my-name/webshop",
    )
)
@FOLDER
@click.option("--repo", required=True, help="The dataset on the Hugging Face hub: USER/NAME.")
@click.option("--public", is_flag=True, help="For all to see. [default: private]")
@click.option("--dry-run", is_flag=True, help="List what would be pushed; no network is used.")
@click.option("--allow-example-keys", is_flag=True,
              help="Push although texts look like API keys, for they are examples. The values of "
              "your own keys are never pushed.")  # fmt: skip
def push(folder: Path, repo: str, public: bool, dry_run: bool, allow_example_keys: bool) -> None:
    """Put the dataset on the Hugging Face hub, private unless told otherwise.

    The store and the log stay here, and files in which a secret stands are refused. You are known
    to the hub by `hf auth login` or by HF_TOKEN.
    """
    from synth.dataset.push import check_no_secrets, files_to_push, push_folder

    files = files_to_push(folder)
    for path in files:
        click.echo(f"{path.stat().st_size:>12,}  {path.relative_to(folder)}")
    check_no_secrets(folder, files, allow_example_keys)
    if dry_run:
        asked = "public" if public else "private"
        click.echo(f"These {len(files)} files would go to the dataset {repo} ({asked}).")
        return
    address, seen = push_folder(folder, repo, public)
    click.echo(f"Pushed to {address} ({'public' if seen else 'private'}).")
    if public and not seen:
        click.echo("The dataset was there already, and private: it stays so. Its settings on the "
                   "hub make it public.")  # fmt: skip


FOLDER_COMMANDS = (status, report, export, push)
