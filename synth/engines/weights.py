"""Which model a folder or hub name is, told by its content and without loading it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from synth.errors import EngineError

# A weight file is known by its size and by this many blocks, spread evenly over it.
BLOCKS, BLOCK_SIZE = 64, 65536
SMALL = {".json", ".jinja", ".txt", ".model"}
LARGE = {".safetensors", ".bin"}


def check_model_name(model: str) -> None:
    """Tell a folder that is not there or not complete from a hub name.

    Raises:
        EngineError: what is missing, and from where.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise EngineError(
                f"The folder {model} has no config.json.",
                "Name the folder of a Hugging Face model (config.json, weights, tokenizer).",
            )
        return
    if folder.exists():
        raise EngineError(f"{model} is a file.", "Name the folder of a Hugging Face model.")
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise EngineError(
            f"There is no model folder {model}.",
            "Correct --model: a folder, or a name on the hub like owner/name. "
            "With a server, add --base-url.",
        )


def describe(model: str) -> dict[str, str]:
    """The model's name without its path, and its revision.

    A folder's revision is a hash over its configuration, tokenizer and weights, so that it stays
    the same when the folder moves, and changes when the model in it does. A hub model's is the
    commit.

    Raises:
        EngineError: there is no such model.
    """
    check_model_name(model)
    folder = Path(model).expanduser()
    if folder.is_dir():
        return {"model": folder.resolve().name, "revision": _folder_hash(folder)}
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise cannot_load(model, error) from error
    return {"model": model, "revision": str(getattr(config, "_commit_hash", None) or "")}


def cannot_load(model: str, error: Exception) -> EngineError:
    """The error for a model that transformers can't load, with the first line of its reason."""
    reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
    return EngineError(
        f"The model {model} can't be loaded: {reason.strip()}",
        "Correct --model, check the folder or the network, or name a server with --base-url.",
    )


def too_large(model: str, error: Exception) -> EngineError:
    """The error for a model that does not fit the device."""
    reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
    return EngineError(
        f"The model {model} does not fit the device's memory: {reason.strip()}",
        "Use a server over several GPUs (--base-url), --engine vllm with --engine-args "
        "'{\"tensor_parallel_size\": 2}', or a smaller --dtype.",
    )


def _folder_hash(folder: Path) -> str:
    seen = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.suffix not in SMALL | LARGE:
            continue
        size = path.stat().st_size
        seen.update(f"{path.name}\n{size}\n".encode())
        with path.open("rb") as file:
            if path.suffix in SMALL or size <= BLOCKS * BLOCK_SIZE:
                seen.update(file.read())
                continue
            for block in range(BLOCKS):
                file.seek((size - BLOCK_SIZE) * block // (BLOCKS - 1))
                seen.update(file.read(BLOCK_SIZE))
    return seen.hexdigest()[:16]
