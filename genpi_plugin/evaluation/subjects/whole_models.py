"""Students that are whole models, beside the base model: fully fine-tuned, or merged."""

from __future__ import annotations

from pathlib import Path

from genpi_plugin.data import digests
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.adapters import CONFIG as ADAPTER
from genpi_plugin.training.manifest import read_manifest

CONFIG = "config.json"


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a model's own weights and no adapter. The folders of adapters, too,
    have the model's config."""
    return (folder / CONFIG).is_file() and not (folder / ADAPTER).is_file()


def check_whole(folder: Path, base_model: str) -> list[str]:
    """Before anything is loaded: is this a model that was trained from this base model?

    Returns:
        warnings.

    Raises:
        GenPIError: the folder has no weights.
    """
    if digests.of_weights(str(folder)) is None:
        raise GenPIError(
            f"{folder} holds a model's {CONFIG}, and no weights.",
            "copy the whole folder, finish its training, or take a checkpoint with "
            "`--adapter DIR`.",
        )
    found = [
        f"{folder} holds a whole model, no adapter: what this report says of the adapter is said "
        "of that model."
    ]
    trained = (read_manifest(folder) or {}).get("weights_mark")
    current = digests.of_weights(base_model)
    if trained is not None and current is not None and trained != current:
        found.append(
            f"{folder} was trained from other files than those of {base_model}: teacher and floor "
            "are of a model that it does not come from."
        )
    return found


def whole_digest(folder: Path) -> str:
    """The digest of a whole model's weights."""
    return f"whole {digests.of_weights(str(folder))}"
