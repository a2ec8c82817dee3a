"""What an evaluation runs on: held-out inputs, their conversations, the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import yaml

from genpi_plugin.data.inputs.lines import GivenInputs, check_markers, read_inputs
from genpi_plugin.data.markers import special_tokens
from genpi_plugin.data.messages import Message
from genpi_plugin.data.rows import Row, parse
from genpi_plugin.errors import GenPIError

RESOLVED_CONFIG = "synth.yaml"
VALIDATION = "validation"
# The synthesizer's filter; a task without it has such markers in its ordinary texts.
MARKERS = "role_markers"
ORDINARY = (
    "If it is ordinary text in your application, leave `role_markers` out of `filters` in the "
    "task.yml of the data."
)


@dataclass(frozen=True)
class HeldOut:
    """Inputs and the prompt they are evaluated with.

    `in_training` counts the inputs that are in the training split too. `conversations` holds what
    follows each input in the dataset (assistant, user, assistant ...); None when the inputs come
    from a file. `notes` say what of the file was not used.
    """

    inputs: list[str]
    prompt: list[Message]
    prompt_id: str
    source: str
    in_training: int
    conversations: list[list[Message]] | None = None
    notes: tuple[str, ...] = ()


def held_out(cfg: Mapping[str, Any], inputs_file: Path | None, limit: int | None) -> HeldOut:
    """Inputs from `inputs_file`, else from the config's test split; the prompt from its dataset.

    Raises:
        GenPIError: there is no test split and no file, a file has no inputs, or rows of more
            than one prompt.
    """
    train = _rows(cfg["datasets"][0], "train")
    conversations = None
    if inputs_file is not None:
        rows, source = train, str(inputs_file)
    else:
        entries = cfg.get("test_datasets") or []
        if not entries:
            raise GenPIError(
                "the config has no `test_datasets:`.",
                "add the test split of the dataset to it, or give `--inputs FILE`.",
            )
        rows, source = _rows(entries[0], "test"), f"{entries[0]['path']} (test split)"
        conversations = [row.conversation for row in rows][:limit]
    prompt_id, prompt = _one_prompt(rows, source)
    inputs = [row.input for row in rows]
    notes: tuple[str, ...] = ()
    if inputs_file is not None:
        given = own_inputs(inputs_file, cfg, prompt)
        inputs, notes = list(given.texts), given.notes
    inputs = inputs[:limit]
    trained = {row.input for row in train}
    in_training = sum(text in trained for text in inputs)
    return HeldOut(inputs, prompt, prompt_id, source, in_training, conversations, notes)


def validation(
    cfg: Mapping[str, Any], data: HeldOut, own_inputs: bool, limit: int | None
) -> HeldOut:
    """Inputs to choose a checkpoint by: neither trained on nor used for the final figures.

    The `validation` split of the training data's dataset; without one, the test split, if the
    final figures come from a file of inputs (`own_inputs`) and not from that split.

    Args:
        data: the inputs of the final figures.

    Raises:
        GenPIError: there are none, or some are among the inputs of the final figures.
    """
    entry = dict(cfg["datasets"][0])
    source = f"{entry['path']} ({VALIDATION} split)"
    try:
        rows = _rows({**entry, "split": VALIDATION}, VALIDATION)
    except GenPIError as error:
        entries = cfg.get("test_datasets") or []
        if not (own_inputs and entries):
            raise GenPIError(
                f"{entry['path']} has no {VALIDATION} split to choose a checkpoint by.",
                "give requests of your own with `--inputs FILE`: the final figures then come "
                "from those, and the test split serves to choose. A checkpoint chosen by the "
                "inputs that it is measured on looks better than it is.",
            ) from error
        rows, source = _rows(entries[0], "test"), f"{entries[0]['path']} (test split)"
    prompt_id, prompt = _one_prompt(rows, source)
    inputs = [row.input for row in rows][:limit]
    shared = len(set(inputs) & set(data.inputs))
    if shared:
        raise GenPIError(
            f"{shared} of the inputs in {source} are also inputs of the final figures.",
            "choose a checkpoint by inputs that are not measured at the end.",
        )
    return HeldOut(inputs, prompt, prompt_id, source, in_training=0)


def _one_prompt(rows: Sequence[Row], source: str) -> tuple[str, list[Message]]:
    prompts = {row.prompt_id: row.prompt for row in rows}
    if len(prompts) != 1:
        names = f": {', '.join(prompts)}" if prompts else ""
        raise GenPIError(
            f"{source} holds rows of {len(prompts)} prompts{names}.",
            "an evaluation covers one prompt: split the dataset." if prompts else "add some rows.",
        )
    [found] = prompts.items()
    return found


def own_inputs(path: Path, cfg: Mapping[str, Any], prompt: Sequence[Message]) -> GivenInputs:
    """Inputs of the user's own from a file, read as the synthesizer reads them.

    Raises:
        GenPIError: it can't be read, has no inputs, or some that hold what starts or ends a turn.
    """
    given = read_inputs(path)
    if MARKERS in task_of(cfg).get("filters", [MARKERS]):
        own = [turn["content"] for turn in prompt]
        check_markers(given, own, special_tokens(str(cfg.get("base_model"))), ORDINARY)
    return given


def task_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The task's keys, from the resolved config that `synth` writes beside the data; else empty."""
    path = Path(str(cfg["datasets"][0]["path"])) / RESOLVED_CONFIG
    if not path.is_file():
        return {}
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("task") or {}


def _rows(entry: Mapping[str, Any], default_split: str) -> list[Row]:
    split = entry.get("split") or default_split
    path = str(entry["path"])
    raw = load_split(path, split, entry)
    return [parse(row, f"{path} ({split}), row {index}") for index, row in enumerate(raw)]


def load_split(path: str, split: str, entry: Mapping[str, Any]) -> Any:
    """One split as axolotl finds it: saved to disk, in a folder or file, or on the hub."""
    folder = Path(path)
    try:
        if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
            saved = datasets.load_from_disk(path)
            return saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        if folder.is_file():
            kind = {"jsonl": "json"}.get(folder.suffix.lstrip("."), folder.suffix.lstrip("."))
            return datasets.load_dataset(kind, data_files=path, split="train")
        return datasets.load_dataset(
            path, data_files=entry.get("data_files"), revision=entry.get("revision"), split=split
        )
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise GenPIError(
            f"can't read the {split} split of {path}: {error}",
            "make the dataset with `python -m synth run`, or correct its path in the config.",
        ) from error
