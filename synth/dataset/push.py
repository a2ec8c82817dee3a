"""`synth push`: a run's folder as a dataset on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from synth.errors import SynthError
from synth.secrets import KEY, redactor
from synth.store.folder import read_config
from synth.store.rows import TOPS

# What explains the dataset and what it is; not the store, which is large and holds every answer,
# nor the log.
PUSHED = ("README.md", "data/*.parquet", "rejected.jsonl", "report.html", "run.json", "synth.yaml")

NAMED = 10  # so many places are named; the rest is counted
GROUP = 500  # rows in memory at once


def files_to_push(folder: Path) -> list[Path]:
    """The files of a run's folder that belong to the dataset.

    Raises:
        SynthError: there is no dataset in the folder.
    """
    files = [path for pattern in PUSHED for path in sorted(folder.glob(pattern))]
    if not any(path.suffix == ".parquet" for path in files):
        raise SynthError(
            f"{folder} holds no dataset.",
            f"Give what you gave to `run` with -o; python -m synth status {folder} says how far "
            "its run is.",
        )
    return files


def check_no_secrets(folder: Path, files: Sequence[Path], allow_examples: bool = False) -> None:
    """Check that no secret stands in the files.

    Secrets are the values of the variables that the run was given for its keys, and of all others
    whose names say so; and what looks like a key.

    Args:
        folder: the run's.
        files: of `files_to_push`.
        allow_examples: let pass what looks like a key and is none that is known.

    Raises:
        SynthError: names each place by file and line, or file, row and column.
    """
    redactor.register_environment()
    run = (read_config(folder) or {}).get("run", {})
    for role in ("target", "generator"):
        redactor.register_variable(str(run.get(role, {}).get("api_key_env", "")))
    found = []
    for path in files:
        texts = _row_texts(path) if path.suffix == ".parquet" else _lines(path)
        for place, text in texts:
            what = redactor.known_in(text)
            if not what and not allow_examples and KEY.search(text):
                what = "what looks like a key"
            if what:
                found.append(f"{path.relative_to(folder)}, {place}: {what}")
    if found:
        more = f"\n  and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise SynthError(
            "Nothing is pushed, for there are secrets in the files:\n  "
            + "\n  ".join(found[:NAMED])
            + more,
            "Give `run` keys by the names of variables (--api-key-env), and run the folder's "
            "command again: it writes the files again, without them. In rows, take them out of the "
            "prompt or the inputs. If they only look like keys, add --allow-example-keys.",
        )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        yield f"line {number}", line


def _row_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Each text of each row, a prompt once."""
    seen: set[str] = set()
    number = 0
    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if name not in TOPS]  # no texts
        for batch in file.iter_batches(GROUP, columns=names):
            for row in batch.to_pylist():
                number += 1
                for column, value in row.items():
                    for text in _texts(value):
                        if column != "prompt" or text not in seen:
                            yield f"row {number}, `{column}`", text
                        if column == "prompt":
                            seen.add(text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def push_folder(folder: Path, repo: str, public: bool) -> tuple[str, bool]:
    """Upload a run's folder; the dataset's address, and whether it is public.

    Raises:
        SynthError: the hub's library is missing, the hub refuses, or the dataset is there already
            and public although `public` was not said.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise SynthError(
            "`push` needs the library huggingface_hub.", "pip install 'axolotl-genpi[hub]'"
        ) from None
    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        seen = not api.dataset_info(repo).private
        if seen and not public:
            raise SynthError(
                f"The dataset {repo} is there already, and public.",
                "Say --public if all may see the rows, or give another --repo.",
            )
        api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=list(PUSHED),
            commit_message="Dataset made by python -m synth",
        )
    except HFValidationError as error:
        raise SynthError(f"--repo {repo}: {error}", "For example: --repo my-name/webshop") from None
    except (HfHubHTTPError, OSError) as error:
        raise SynthError(
            f"The hub did not take {repo}: {error}",
            "Log in with `hf auth login` (or set HF_TOKEN to a token that may write), and check "
            "the name and the network.",
        ) from None
    return f"{api.endpoint}/datasets/{repo}", seen
