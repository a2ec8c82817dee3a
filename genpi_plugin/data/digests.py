"""Short digests of contents: equal contents have the same digest, whatever their names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# A large file of weights is identified by this many blocks of this many bytes.
BLOCKS, BLOCK_SIZE = 32, 65536
WEIGHTS = {".safetensors", ".bin", ".gguf"}


def of(facts: Any) -> str:
    """16 hex digits for JSON-like facts."""
    text = json.dumps(facts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_files(paths: Iterable[Path]) -> str:
    """16 hex digits for the names and whole contents of files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def of_weights(base_model: str) -> str | None:
    """The digest of the weights in a local folder; None for a hub's name."""
    folder = Path(base_model)
    files = sorted(p for p in folder.glob("*") if p.suffix in WEIGHTS) if folder.is_dir() else []
    if not files:
        return None
    return of([(path.stat().st_size, sample(path)) for path in files])


def of_adapter(folder: Path) -> str | None:
    """The digest of an adapter's weights and settings; None for a hub's name."""
    files = [path for path in folder.glob("adapter_*") if path.suffix in {*WEIGHTS, ".json"}]
    return of_files(files) if files else None


def sample(path: Path) -> str:
    """A hash over blocks spread evenly over a file; over all of it when it is small."""
    size, digest = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        for block in range(BLOCKS):
            file.seek(max(0, size - BLOCK_SIZE) * block // (BLOCKS - 1))
            digest.update(file.read(BLOCK_SIZE))
    return digest.hexdigest()
