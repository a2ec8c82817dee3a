"""The likeliest tokens of answers in the store: once for an answer and the rows that it is in."""

from __future__ import annotations

import sqlite3

from synth.engines.tops import Tops


def keep_tops(db: sqlite3.Connection, tops: Tops | None) -> str | None:
    """Store what is not there yet; its name (`Tops.digest`), None for none."""
    if tops is None:
        return None
    values = (tops.digest, tops.k, tops.ids, tops.logprobs)
    db.execute("INSERT OR IGNORE INTO tops VALUES (?, ?, ?, ?)", values)
    return tops.digest


def tops_named(db: sqlite3.Connection, name: str | None) -> Tops | None:
    """What is stored under a name; None where nothing is."""
    if name is None:
        return None
    found = db.execute("SELECT k, ids, logprobs FROM tops WHERE digest = ?", (name,)).fetchone()
    return Tops(*found) if found else None
