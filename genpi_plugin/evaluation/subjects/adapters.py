"""Adapter folders: their names, and whether they fit the base model that is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from genpi_plugin.data import digests
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.names import FLOOR, STUDENT, TEACHER, unique_names
from genpi_plugin.training.manifest import read_manifest

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
CHECKPOINT = "checkpoint-"


def name_adapters(folders: Sequence[Path]) -> dict[str, Path]:
    """Adapters by name: `student` when there is one, else each by its folder's name.

    Raises:
        GenPIError: two folders have the same name.
    """
    if len(folders) == 1:
        return {STUDENT: folders[0]}
    wanted = [folder.resolve().name for folder in folders]
    names = unique_names(wanted, [str(folder) for folder in folders], [TEACHER, FLOOR])
    return dict(zip(names, folders, strict=True))


def checkpoints(output_dir: Path) -> dict[int, Path]:
    """A run's checkpoints by step.

    Raises:
        GenPIError: there are none.
    """
    found = {
        int(path.name.removeprefix(CHECKPOINT)): path
        for path in output_dir.glob(f"{CHECKPOINT}*")
        if path.name.removeprefix(CHECKPOINT).isdigit() and (path / CONFIG).is_file()
    }
    if not found:
        raise GenPIError(
            f"{output_dir} holds no checkpoints.",
            "train with `save_strategy: epoch` or `save_steps:`, and a `save_total_limit:` that "
            "keeps them.",
        )
    return dict(sorted(found.items()))


def check_adapter(folder: Path, base_model: str) -> list[str]:
    """Before anything is loaded: is this an adapter of this base model?

    Returns:
        warnings.

    Raises:
        GenPIError: the folder has no adapter, one that can't be read, or one of another base
            model.
    """
    config, weights = _config(folder), _weights(folder)
    if weights.suffix == ".safetensors":
        try:
            with safe_open(weights, "pt") as file:
                list(file.keys())
        except SafetensorError as error:
            raise GenPIError(
                f"{weights} is damaged: {error}.",
                "copy the adapter again, or take another checkpoint with `--adapter DIR`.",
            ) from error
    trained_on = str(config.get("base_model_name_or_path"))
    trained = (read_manifest(folder) or {}).get("weights_mark")
    current = digests.of_weights(base_model)
    known = trained is not None and current is not None
    if _same_place(trained_on, base_model):
        if known and trained != current:
            return [
                f"{folder} was trained on other files than those of {base_model}: the "
                "weights under that name have changed."
            ]
        return []
    if known and trained == current:
        return []
    if not known and current is not None and digests.of_weights(trained_on) == current:
        return []
    raise GenPIError(
        f"{folder} is an adapter of {trained_on}, but this evaluation is of {base_model}.",
        f"evaluate it with its own config or `--base-model {trained_on}`; if they are the same "
        f"model under two names, correct `base_model_name_or_path` in {folder / CONFIG}.",
    )


def check_fits(folder: Path, expected: dict[str, tuple[int, ...]]) -> None:
    """Once the model is loaded: do the adapter's weights have the names and shapes it expects?

    Args:
        expected: names and shapes of the weights of the model's adapter.

    Raises:
        GenPIError: they do not.
    """
    path = _weights(folder)
    if path.suffix != ".safetensors":
        return
    with safe_open(path, "pt") as file:
        held = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    # A file may also hold whole layers (resized embeddings); PEFT checks those.
    names = sorted({*expected, *(name for name in held if ".lora_" in name)})
    wrong = [name for name in names if held.get(name) != expected.get(name)]
    if wrong:
        raise GenPIError(
            f"{len(wrong)} of the weights in {path} do not fit the base model, the first of them "
            f"{wrong[0]}: {held.get(wrong[0], 'not there')} in the file, "
            f"{expected.get(wrong[0], 'not there')} in the model.",
            "it is an adapter of another model: give the config it was trained with.",
        )


def adapter_digest(folder: Path) -> str:
    """The digest of an adapter: its weights and its settings."""
    return digests.of_files([folder / CONFIG, _weights(folder)])


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GenPIError(
            f"{folder} holds no adapter (no {CONFIG}).",
            "train one with `axolotl train`, or name a checkpoint with `--adapter DIR`.",
        ) from error
    except (OSError, ValueError) as error:
        raise GenPIError(
            f"{path} can't be read: {error}.", "copy the adapter again, or take another one."
        ) from error


def _weights(folder: Path) -> Path:
    found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not found:
        raise GenPIError(
            f"{folder} holds no adapter weights ({' or '.join(WEIGHTS)}).",
            "copy the whole folder, or take another checkpoint with `--adapter DIR`.",
        )
    return found[0]


def _same_place(left: str, right: str) -> bool:
    return left == right or (Path(left).is_dir() and Path(left).resolve() == Path(right).resolve())
