"""The tables of a store, and how a store of an earlier version becomes one of this.

| version | what is new in it                                                                  |
|---------|------------------------------------------------------------------------------------|
| 1       | answers, rows, rejections; each row holds its prompt                               |
| 2       | `prompts`: each prompt once, rows name it by its SHA-256; `splits`: what was drawn |
| 3       | rows without a reason; among the rejections what such a row lost, marked as `kept` |
| 4       | rows with tools, slots, a request of several messages, and their answers' tokens   |
| 5       | `tops`: the likeliest tokens of answers, which answers and rows name by a hash     |

Answers are the same in all. Rows of earlier versions are read as they are, since `status` and
`report` open a store without changing it.
"""

from __future__ import annotations

import sqlite3

SCHEMA_VERSION = 5
READABLE = (1, 2, 3, 4, 5)
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, answer TEXT NOT NULL, stage TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS rows (position INTEGER PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prompts (sha256 TEXT PRIMARY KEY, prompt TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rejections (
    stage TEXT, position INTEGER, reason TEXT, detail TEXT, made TEXT,
    PRIMARY KEY (stage, position));
CREATE TABLE IF NOT EXISTS splits (
    draw TEXT, id TEXT, split TEXT NOT NULL, PRIMARY KEY (draw, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tops (
    digest TEXT PRIMARY KEY, k INTEGER NOT NULL, ids BLOB NOT NULL, logprobs BLOB NOT NULL);
"""
# Under these keys `made` of a rejection holds what the table has no column for.
FILTER, KEPT = "filter", "kept"
COUNTED = (
    "SELECT stage, reason, count(*) FROM rejections "
    f"WHERE json_extract(made, '$.{KEPT}') IS {{}} NULL GROUP BY stage, reason"
)


def version_of(db: sqlite3.Connection) -> int:
    """The version of an open store; 0 for a new file."""
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def upgrade(db: sqlite3.Connection) -> None:
    """Bring a new file, or a store of an earlier version, to this one; all of it or nothing."""
    db.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
