"""Stores and folders as version 1 wrote them.

Each row holds its prompt, nothing is noted of splits, and the split is drawn over all rows.
"""

import hashlib
import json
import sqlite3
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from synth.dataset.export import SCHEMA
from synth.dataset.splits import split_files
from synth.store.store import Store

TABLES = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY, answer TEXT NOT NULL, stage TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE rows (position INTEGER PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE rejections (
    stage TEXT, position INTEGER, reason TEXT, detail TEXT, made TEXT,
    PRIMARY KEY (stage, position));
PRAGMA user_version=1;
"""


def old_store(path, rows=(), answers=None):
    """A new file at `path` with these rows and answers (JSON by key); the path."""
    db = sqlite3.connect(path)
    db.executescript(TABLES)
    for row in rows:
        db.execute("INSERT INTO rows VALUES (?, ?)",
                   (row.position, json.dumps(asdict(row), ensure_ascii=False)))  # fmt: skip
    for key, answer in (answers or {}).items():
        db.execute("INSERT INTO answers VALUES (?, ?, 'outputs', 0.0)", (key, answer))
    db.commit()
    db.close()
    return path


def make_old(folder):
    """Turn the dataset of a run of this version into the one that version 1 made."""
    store = Store(folder / "store.sqlite")
    rows = list(store.rows())
    store.close()
    db = sqlite3.connect(folder / "store.sqlite")
    for row in rows:
        db.execute("UPDATE rows SET row = ? WHERE position = ?",
                   (json.dumps(asdict(row), ensure_ascii=False), row.position))  # fmt: skip
    db.commit()
    db.executescript("DROP TABLE prompts; DROP TABLE splits; PRAGMA user_version=1;")
    db.close()
    config = yaml.safe_load((folder / "synth.yaml").read_text(encoding="utf-8"))
    del config["run"]["format"]
    (folder / "synth.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    tables = [pq.read_table(path) for path in split_files(folder).values()]
    whole = {row["id"]: row for table in tables for row in table.to_pylist()}
    ids = [row.id for row in rows]
    test = old_test_ids(ids, config["task"]["split"]["test"], config["seed"])
    for path in (folder / "data").iterdir():
        path.unlink()
    for split in ("train", "test"):
        mine = [whole[name] for name in ids if (name in test) == (split == "test")]
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        with pq.ParquetWriter(path, SCHEMA) as writer:
            writer.write_table(pa.Table.from_pylist(mine, schema=SCHEMA))


def old_test_ids(ids, share, seed):
    """Version 1's split of rows without near duplicates."""
    count = max(round(len(ids) * share), 1)
    return set(
        sorted(ids, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())[:count]
    )
