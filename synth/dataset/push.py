"""`synth push`: a run's folder as a dataset on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from synth.errors import SynthError

# What explains the dataset and what it is; not the store, which is large and holds every answer,
# nor the log.
PUSHED = ("README.md", "data/*.parquet", "rejected.jsonl", "report.html", "run.json", "synth.yaml")


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
