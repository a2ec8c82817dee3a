"""What an evaluation runs on: held-out inputs, their conversations, the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import yaml

from genpi_plugin.data import digests
from genpi_plugin.data.all_rows import parse_all
from genpi_plugin.data.inputs.given import GivenInputs, Reading
from genpi_plugin.data.inputs.lines import check_markers, read_inputs
from genpi_plugin.data.inputs.own_prompt import OwnPrompt
from genpi_plugin.data.markers import special_tokens
from genpi_plugin.data.messages import Message
from genpi_plugin.data.requests import Input, Valued, under, with_values_of
from genpi_plugin.data.rows import Row
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.values import with_values

RESOLVED_CONFIG = "synth.yaml"
VALIDATION = "validation"
KINDS = ("parquet", "arrow", "csv")  # of a file, by its name; all others are JSON, as for axolotl
TYPE = "genpi_plugin.strategy"
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
    from a file. `notes` say what of the file was not used. `tools` are the teacher's. `requests`
    holds what stands before the first answer, with the values of the prompt's slots where it has
    some, `sampled` the tokens
    of each conversation's turns by their places, where they are known, and `tokenizers` the marks
    of the tokenizers that they are of. `ids` are the rows', or the user's own where a file has any.
    """

    inputs: list[str]
    prompt: list[Message]
    prompt_id: str
    source: str
    in_training: int
    conversations: list[list[Message]] | None = None
    notes: tuple[str, ...] = ()
    tools: list[Tool] = field(default_factory=list)
    requests: list[list[Message] | Valued] = field(default_factory=list)
    sampled: list[dict[int, list[int]]] = field(default_factory=list)
    tokenizers: tuple[str, ...] = ()
    ids: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[list[Message] | Valued]:
        """The request of each input, without prompt and tools."""
        return self.requests or [under([], text) for text in self.inputs]

    def with_values(self, others: Sequence[str | list[Message]]) -> list[Input]:
        """Other inputs, with the values of these in turn where the prompt has slots."""
        asked = self.asked
        return [
            with_values_of(asked[number % len(asked)], one) for number, one in enumerate(others)
        ]


def held_out(
    cfg: Mapping[str, Any],
    inputs_file: Path | None,
    limit: int | None,
    reading: Reading | None = None,
) -> HeldOut:
    """Inputs from `inputs_file`, else from the config's test split; the prompt from its dataset.

    Args:
        reading: how the file is read.

    Raises:
        GenPIError: there is no test split and no file, a file has no inputs, or rows of more
            than one prompt.
    """
    entries = _ours(cfg["datasets"])
    train = _rows(entries[0], "train")
    more_rows = [row for entry in entries[1:] for row in _rows(entry, "train")]
    trained = {_mark(row.asked) for row in [*train, *more_rows]}
    conversations = None
    if inputs_file is not None:
        rows, source = train, str(inputs_file)
    else:
        entries = _ours(cfg.get("test_datasets") or [])
        if not entries:
            raise GenPIError(
                "the config has no `test_datasets:`.",
                "add the test split of the dataset to it, or give `--inputs FILE`.",
            )
        rows, source = _rows(entries[0], "test"), f"{entries[0]['path']} (test split)"
        conversations = [row.conversation for row in rows][:limit]
    data = _of_rows(rows, source, limit)
    more = [str(entry["path"]) for entry in entries[1:]]
    if inputs_file is not None:
        own = OwnPrompt(data.prompt, data.tools, bool(rows[0].slots))
        given = own_inputs(inputs_file, cfg, data.prompt, reading, own).first(limit)
        data = HeldOut(
            list(given.texts),
            data.prompt,
            data.prompt_id,
            source,
            in_training=0,
            notes=given.notes,
            tools=data.tools,
            requests=[one.messages for one in given.inputs],
            ids=[one.id for one in given.inputs],
        )
        if given.kept:
            conversations = [list(one.conversation) for one in given.inputs]
        requests, notes = with_values(
            data.asked, [one.values for one in given.inputs], rows, source
        )
        data = replace(data, requests=requests, notes=(*data.notes, *notes))
    elif more:
        notes = (f"of `test_datasets:` the first is measured, not {', '.join(more)}.",)
        data = replace(data, notes=notes)
    in_training = sum(_mark(request) in trained for request in data.asked)
    return replace(data, in_training=in_training, conversations=conversations)


def training_rows(cfg: Mapping[str, Any]) -> list[Row]:
    """The rows of ours that a config trains on.

    Raises:
        GenPIError: they can't be read.
    """
    return [row for entry in _ours(cfg["datasets"]) for row in _rows(entry, "train")]


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
    found = _of_rows(rows, source, limit)
    shared = len(set(map(_mark, found.asked)) & set(map(_mark, data.asked)))
    if shared:
        raise GenPIError(
            f"{shared} of the inputs in {source} are also inputs of the final figures.",
            "choose a checkpoint by inputs that are not measured at the end.",
        )
    return found


def _of_rows(rows: Sequence[Row], source: str, limit: int | None) -> HeldOut:
    """The inputs of rows, without what follows them.

    Raises:
        GenPIError: the rows are not of one prompt.
    """
    first = _one_prompt(rows, source)
    used = rows[:limit]
    return HeldOut(
        [row.input for row in used],
        first.prompt,
        first.prompt_id,
        source,
        in_training=0,
        tools=first.tools,
        requests=[row.asked for row in used],
        sampled=[row.sampled for row in used],
        tokenizers=tuple(sorted({row.tokenizer for row in used if row.tokenizer})),
        ids=[row.id for row in used],
    )


def _mark(request: Input) -> str:
    return digests.of(under([], request))


def _one_prompt(rows: Sequence[Row], source: str) -> Row:
    """A row that has the prompt and the tools that all have."""
    prompts = {row.prompt_id: row for row in rows}
    if len(prompts) != 1:
        names = f": {', '.join(prompts)}" if prompts else ""
        raise GenPIError(
            f"{source} holds rows of {len(prompts)} prompts{names}.",
            "an evaluation covers one prompt: split the dataset." if prompts else "add some rows.",
        )
    first = _prompt_mark(rows[0])
    other = next((row for row in rows if _prompt_mark(row) != first), None)
    if other is not None:
        raise GenPIError(
            f"{source} holds several prompts, or tools, under the id {rows[0].prompt_id!r}; the "
            f"first row of another one is {other.where}.",
            "an evaluation covers one prompt: split the dataset, and give each an id.",
        )
    return rows[0]


def _prompt_mark(row: Row) -> str:
    """Of the prompt with its slots open, and of the tools."""
    return digests.of([row.prompt, row.tools, bool(row.slots)])


def own_inputs(
    path: Path,
    cfg: Mapping[str, Any],
    prompt: Sequence[Message],
    reading: Reading | None = None,
    own: OwnPrompt | None = None,
) -> GivenInputs:
    """Inputs of the user's own from a file, read as the synthesizer reads them.

    Args:
        reading: how the file is read.
        own: what is taken out of logs; None leaves them as they are.

    Raises:
        GenPIError: it can't be read, has no inputs, logs of another prompt, or inputs that hold
            what starts or ends a turn.
    """
    given = read_inputs(path, None, reading, own)
    if MARKERS in task_of(cfg).get("filters", [MARKERS]):
        texts = [turn["content"] for turn in prompt]
        check_markers(given, texts, special_tokens(str(cfg.get("base_model"))), ORDINARY)
    return given


def task_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The task's keys, from the resolved config that `synth` writes beside the data; else empty."""
    path = Path(str(cfg["datasets"][0]["path"])) / RESOLVED_CONFIG
    if not path.is_file():
        return {}
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("task") or {}


def _ours(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The datasets that hold rows of ours, where a config trains on others beside them."""
    return [entry for entry in entries if entry.get("type") in (None, TYPE)] or list(entries)


def _rows(entry: Mapping[str, Any], default_split: str) -> list[Row]:
    split = entry.get("split") or default_split
    path = str(entry["path"])
    raw = load_split(path, split, entry)
    return parse_all(raw, f"{path} ({split})")


def load_split(path: str, split: str, entry: Mapping[str, Any]) -> Any:
    """One split as axolotl finds it: saved to disk, in a folder or file, or on the hub."""
    folder = Path(path)
    try:
        if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
            saved = datasets.load_from_disk(path)
            return saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        if folder.is_file():
            kind = next((name for name in KINDS if f".{name}" in folder.name), "json")
            return datasets.load_dataset(kind, data_files=path, split="train")
        return datasets.load_dataset(
            path, data_files=entry.get("data_files"), revision=entry.get("revision"), split=split
        )
    except (
        OSError,
        ValueError,
        KeyError,
        StopIteration,
        datasets.exceptions.DatasetGenerationError,
    ) as error:
        why = str(error.__cause__ or error) or "it is empty"
        raise GenPIError(
            f"can't read the {split} split of {path}: {why}",
            "make the dataset with `python -m synth run`, or correct its path in the config.",
        ) from error
