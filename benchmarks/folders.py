"""What a benchmark leaves on disk: commands that are run once, and what a folder was made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
TRAIN = "data/train-00000-of-00001.parquet"
# What the evaluation and the report read beside the rows.
BESIDE = ("synth.yaml", "run.json")


def run(*command: Any, env: Mapping[str, str] | None = None) -> None:
    """Run `axolotl` or `python` of this environment, and stop where it fails.

    Args:
        command: the program's name, and its arguments.
        env: variables beside those of this process. The benchmarks can be imported there.
    """
    beside = {"python": sys.executable, "axolotl": str(Path(sys.executable).with_name("axolotl"))}
    name, *arguments = map(str, command)
    print("+", name, *arguments, flush=True)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(env or {})}
    subprocess.run([beside[name], *arguments], check=True, env=variables)


def keep(path: Path, text: str) -> None:
    """Write what a step is made of; where it stands there already, it has to be the same.

    Raises:
        SystemExit: the folder holds what was made of something else.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise SystemExit(
            f"{path} is of other settings than those asked for: give those to go on, or another "
            f"output folder, or remove {path.parent} to make it again."
        )


def first_rows(dataset: Path, count: int | None, folder: Path) -> int:
    """Make a dataset of the first training rows of another one, unless it is there already.

    Args:
        dataset: a folder made by `python -m synth run`.
        count: of the rows; None takes all.
        folder: of the new dataset, which has the task of the other one and no test split.

    Returns:
        The number of rows.

    Raises:
        SystemExit: there are no rows, or fewer; or `folder` was made of others.
    """
    source = dataset / TRAIN
    if not source.is_file():
        raise SystemExit(f"{source} is not there: make it with `python -m synth run`.")
    rows = pq.read_table(source)
    if count is not None and count > len(rows):
        raise SystemExit(
            f"{source} holds {len(rows)} rows, {count} are asked for: ask for fewer, or make more "
            "with `python -m synth run ... -n`."
        )
    rows = rows.slice(0, count)
    target = folder / TRAIN
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        for name in BESIDE:
            if (dataset / name).is_file():
                shutil.copyfile(dataset / name, folder / name)
        beside = target.with_suffix(".tmp")
        pq.write_table(rows, beside)
        beside.replace(target)
    elif not pq.read_table(target).equals(rows):
        raise SystemExit(
            f"{folder} holds other rows than the first {len(rows)} of {dataset}: remove the output "
            "folder, or give another one."
        )
    return len(rows)
