"""The recipe's options, and what is made of them before the first run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from pathlib import Path

from benchmarks.folders import TRAIN, first_rows, run
from benchmarks.peers.contestants import Recipe
from benchmarks.peers.runs import Measuring
from genpi_plugin.training.cpu import gains_by_bfloat16

ROUND = 16  # the answers' limit is a multiple of it


def add_options(parser: argparse.ArgumentParser, output: str, scheduler: str) -> None:
    """The options that all comparisons have.

    Args:
        output: default folder.
        scheduler: default schedule of the learning rate.
    """
    parser.add_argument("dataset", type=Path, help="a folder made by `python -m synth run`")
    parser.add_argument("inputs", type=Path, help="held-out requests, as `--inputs` of synth")
    parser.add_argument("--model", help="a folder; --report alone does without")
    parser.add_argument("--epochs", type=float, default=2.0, help="default 2")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default 1e-3")
    parser.add_argument("--scheduler", default=scheduler, help=f"default {scheduler}")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters (default 16)")
    parser.add_argument("--seeds", default="0", help="0,1,... (default 0)")
    parser.add_argument("--limit", type=int, help="held-out requests (default all)")
    parser.add_argument("--report", action="store_true", help="print what is there")
    parser.add_argument("-o", "--output", type=Path, default=Path(output))


def seeds_of(parser: argparse.ArgumentParser, given: str) -> list[int]:
    """`0,1,2` as numbers."""
    try:
        return [int(one) for one in given.split(",")]
    except ValueError:
        parser.error(f"--seeds is numbers with commas between them, not {given!r}")


def names_of(
    parser: argparse.ArgumentParser, given: str | None, known: Collection[str]
) -> list[str]:
    """Those of `--only`, or all that are known."""
    names = given.split(",") if given else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(known)}")
    return names


def make_recipe(options: argparse.Namespace, rows: int | None, folder: Path) -> Recipe:
    """Rows and conversations of a comparison in `folder`, and the recipe to train on them.

    Raises:
        SystemExit: too few rows, or the folder is of others.
        CalledProcessError: the export failed.
    """
    data, chats = folder / "data", folder / "chats"
    first_rows(options.dataset, rows, data)
    if not (chats / "train.jsonl").is_file():
        run("python", "-m", "synth", "export", data, "--format", "messages", "-o", chats)
    [written] = sorted(chats.glob("*.jsonl"))
    longest, sequence_len = _lengths(options.model, data)
    return Recipe(
        model=str(options.model),
        data=str(data),
        chats=str(written),
        answer_tokens=longest,
        sequence_len=sequence_len,
        epochs=options.epochs,
        rank=options.rank,
        learning_rate=options.learning_rate,
        scheduler=options.scheduler,
        bfloat16=gains_by_bfloat16(),
    )


def measuring(options: argparse.Namespace, recipe: Recipe) -> Measuring:
    """How the adapters of a recipe are measured."""
    return Measuring(
        recipe.model, Path(recipe.data), options.inputs, recipe.answer_tokens, options.limit,
        options.output / "measured", recipe.bfloat16,
    )  # fmt: skip


def note_rows(dataset: Path) -> str:
    """What making the rows took, which is in nobody's seconds."""
    record = dataset / "run.json"
    if not record.is_file():
        return f"The rows are those of {dataset}; what they took to make is not recorded."
    seconds = json.loads(record.read_text(encoding="utf-8")).get("seconds") or 0.0
    return f"Making the rows of {dataset} took {seconds:,.0f} s, which all share and nobody's has."


def _lengths(model: str, data: Path) -> tuple[int, int]:
    """The tokens of the longest answer, rounded up, and of what the model reads at most."""
    import datasets
    from transformers import AutoConfig, AutoTokenizer

    from genpi_plugin.data.all_rows import parse_all
    from genpi_plugin.data.chat import ChatView

    view = ChatView(AutoTokenizer.from_pretrained(model))
    raw = datasets.load_dataset("parquet", data_files=str(data / TRAIN), split="train")
    longest = 0
    for row in parse_all(raw, str(data)):
        for place, message in enumerate(row.conversation):
            if message["role"] == "assistant":
                before = [*row.student_request, *row.conversation[:place]]
                ids = row.sampled.get(place)
                longest = max(longest, len(view.turn(before, message, (), ids)[1]))
    config = AutoConfig.from_pretrained(model).get_text_config()
    return -(-longest // ROUND) * ROUND, int(config.max_position_embeddings)
