"""Prepared data: never stale, with a record of its prompts.

axolotl keys its cache of tokenized data by config values, not by the content of a local data
file, and not by our settings. We give every state of data, settings and tokenizer its own
folder under `dataset_prepared_path`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from genpi_plugin.data import templates
from genpi_plugin.data.kept import form_of
from genpi_plugin.data.messages import Message
from genpi_plugin.data.rows import Row
from genpi_plugin.data.tools import Tool
from genpi_plugin.data.transcripts import prompt_text

# Raise when the tokens that the same rows and settings give would change.
TOKENS_VERSION = 5
DEFAULT_PREPARED_PATH = "last_run_prepared"
PREFIX = "genpi-"
PROMPTS_FILE = "genpi_prompts.json"
# What `datasets` reads in a folder, packed or not.
DATA_SUFFIXES = {".parquet", ".jsonl", ".ndjson", ".json", ".arrow", ".csv", ".tsv", ".gz", ".bz2",
                 ".xz", ".zst", ".zip"}  # fmt: skip
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                   "tokenizer.model", "special_tokens_map.json")  # fmt: skip
TOKEN_KEYS = ("base_model", "tokenizer_config", "tokenizer_type", "chat_template",
              "chat_template_jinja", "chat_template_kwargs", "special_tokens", "tokens",
              "added_tokens_overrides", "default_system_message", "sequence_len")  # fmt: skip


# Settings that make no token and no column; `notes_prompt` says what of them is in the folder.
TOKENLESS = ("on_policy", "keep", "keep_weight", "keep_inputs", "keep_rows", "keep_tokens")


def notes_prompt(settings: Mapping[str, Any]) -> bool:
    """Whether the rows' prompt is noted in the folder, for requests to keep to the teacher.

    Args:
        settings: the `genpi:` block.
    """
    return bool(settings.get("keep_weight")) and settings.get("keep") == "teacher"


def fingerprint(cfg: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """16 hex digits for everything that decides the tokens: data, settings, tokenizer, template.

    Args:
        cfg: the axolotl config. Data and tokenizers in local folders count by content; those on
            a hub by name and revision. The day counts where the chat template writes it.
        settings: the `genpi:` block with its defaults filled in. What makes no token does not
            count (`TOKENLESS`).
    """
    digest = hashlib.sha256()
    known = {key: cfg.get(key) for key in TOKEN_KEYS}
    datasets = [
        dict(entry) for key in ("datasets", "test_datasets") for entry in cfg.get(key) or []
    ]
    made = {key: value for key, value in settings.items() if key not in TOKENLESS}
    made["notes_prompt"] = notes_prompt(settings)
    facts = [TOKENS_VERSION, known, made, datasets, templates.facts(cfg)]
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for path in [*_data_files(datasets), *tokenizer_files(cfg)]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def prepared_path(configured: str | None, state: str) -> str:
    """The folder for one state of the data, inside the one the user configured."""
    base = Path(configured or DEFAULT_PREPARED_PATH)
    if base.name.startswith(PREFIX):  # copied from the last line of `axolotl preprocess`
        base = base.parent
    return str(base / f"{PREFIX}{state}")


def is_trained_on(cfg: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether a dataset's rows are trained on, and not only evaluated.

    Args:
        cfg: the axolotl config.
        entry: of `datasets` or `test_datasets`; empty where axolotl names none.
    """
    trained, tested = ([dict(one) for one in cfg.get(key) or []]
                       for key in ("datasets", "test_datasets"))  # fmt: skip
    return dict(entry) in trained or dict(entry) not in tested


def isolate_datasets_cache(cfg: Mapping[str, Any]) -> None:
    """Give `datasets` a cache of its own for each state of the data, where it needs one.

    datasets 4 identifies a local folder whose card lists its files (`configs:` in README.md, as in
    every dataset that comes from a hub) by the folder's name and these lines: it would keep
    returning the rows that it once read there, or in another folder with that name.

    Args:
        cfg: the axolotl config, with the prepared folder of this state.
    """
    entries = [entry for key in ("datasets", "test_datasets") for entry in cfg.get(key) or []]
    if any(_card_names_files(Path(str(entry.get("path")))) for entry in entries):
        import datasets

        datasets.config.HF_DATASETS_CACHE = Path(cfg["dataset_prepared_path"]) / "datasets"


def _card_names_files(folder: Path) -> bool:
    card = folder / "README.md"
    if not card.is_file():
        return False
    parts = card.read_text(encoding="utf-8", errors="replace").split("---")
    try:
        front = yaml.safe_load(parts[1]) if len(parts) > 2 and not parts[0].strip() else None
    except yaml.YAMLError:
        return True  # it may
    return isinstance(front, dict) and "configs" in front


def describe_prompt(
    prompt_id: str, prompt: list[Message], tools: Sequence[Tool] = ()
) -> dict[str, Any]:
    """What identifies a prompt, and tools where it has some, without disclosing them."""
    facts = {"prompt": prompt, "tools": list(tools)} if tools else prompt
    canonical = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return {
        "prompt_id": prompt_id,
        "sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "messages": len(prompt),
        "characters": len(prompt_text(prompt)),
        **({"tools": len(tools)} if tools else {}),
    }


def describe_prompts(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The prompts of rows (`describe_prompt`). One with slots comes with their names, and with the
    form in which requests say their values (`kept`), null where rows have no common one.
    """
    described: dict[str, dict[str, Any]] = {}
    saying: dict[str, list[Row]] = {}
    for row in rows:
        one = describe_prompt(row.prompt_id, row.prompt, row.tools)
        described[one["sha256"]] = one
        if row.slots:
            saying.setdefault(one["sha256"], []).append(row)
    for mark, its in saying.items():
        form = form_of([(row.kept, row.slots) for row in its])
        described[mark] |= {"slots": list(its[0].slots), "kept": form}
    return list(described.values())


def record_prompts(folder: str, prompts: Iterable[dict[str, Any]]) -> None:
    """Add prompts (see `describe_prompts`) to the prepared folder's list."""
    known = {entry["sha256"]: entry for entry in [*recorded_prompts(folder), *prompts]}
    path = Path(folder) / PROMPTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(known.values()), indent=2, ensure_ascii=False))


def recorded_prompts(folder: str) -> list[dict[str, Any]]:
    """The prompts whose rows were tokenized into this folder; empty when none were."""
    path = Path(folder) / PROMPTS_FILE
    return json.loads(path.read_text()) if path.is_file() else []


def _data_files(datasets: Iterable[Mapping[str, Any]]) -> list[Path]:
    found: list[Path] = []
    for entry in datasets:
        named = entry.get("data_files") or []
        for name in [entry.get("path"), *([named] if isinstance(named, str) else named)]:
            path = Path(str(name))
            if path.is_file():
                found.append(path)
            elif path.is_dir():
                found += [p for p in path.rglob("*") if p.suffix in DATA_SUFFIXES and p.is_file()]
    return sorted(set(found))


def tokenizer_files(cfg: Mapping[str, Any]) -> list[Path]:
    """The files of a tokenizer in a local folder; none when it comes from a hub."""
    folder = Path(str(cfg.get("tokenizer_config") or cfg.get("base_model")))
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
