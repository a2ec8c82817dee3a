"""Answers and finished rows on disk, each durable the moment it exists."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from synth.engines.base import Answer, Message, Request
from synth.engines.messages import as_dicts, as_messages
from synth.engines.tops import Tops
from synth.errors import SynthError
from synth.secrets import redactor
from synth.store.answers import TOPS, answer_record, to_answer
from synth.store.fingerprint import prompt_hash
from synth.store.rows import STAGES, Rejection, Row
from synth.store.schema import COUNTED, FILTER, KEPT, READABLE, SCHEMA_VERSION, upgrade, version_of
from synth.store.tops import keep_tops, tops_named

Generate = Callable[[Request], Awaitable[Answer]]

# Fields of a row that hold messages, beside the prompt.
TURNS = ("kept", "request", "conversation")


class Store:
    """One SQLite file (WAL): every answer by its request's key, and this run's rows.

    Answers outlive everything. Rows and rejections are those of the current run: they follow
    from the answers, and `start_run` clears them.
    """

    def __init__(self, path: Path | str, read_only: bool = False) -> None:
        """Open the file at `path`, made if need be; ":memory:" keeps nothing.

        Raises:
            SynthError: not a store, or one of another version.
        """
        self.path = path
        self._locks: dict[str, asyncio.Lock] = {}
        self._committed: asyncio.Future[None] | None = None
        self._prompts: dict[tuple[Message, ...], str] = {}  # in the store -> its hash
        try:
            if read_only:
                uri = f"{Path(path).absolute().as_uri()}?mode=ro"
                # Where nothing can be written SQLite has no place for its shared memory.
                still = (
                    not os.access(Path(path).parent, os.W_OK) and not Path(f"{path}-wal").exists()
                )
                self._db = sqlite3.connect(f"{uri}&immutable=1" if still else uri, uri=True)
            else:
                self._db = sqlite3.connect(path)
                self._db.execute("PRAGMA journal_mode=WAL")
                # An answer that was paid for survives a power cut, too.
                self._db.execute("PRAGMA synchronous=FULL")
            version = version_of(self._db)
            if not read_only and version in (0, *READABLE) and version != SCHEMA_VERSION:
                upgrade(self._db)
                version = SCHEMA_VERSION
        except sqlite3.Error as error:
            raise self._failed(error) from None
        if version not in READABLE:
            raise SynthError(
                f"{path} was written by another version of synth (format {version}).",
                "Use that version, or give another folder with -o.",
            )

    def get(self, key: str) -> Answer | None:
        """The answer stored under `key`."""
        found = self._run("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        if not found:
            return None
        record = json.loads(found[0])
        return to_answer(record, self._tops(record.get(TOPS)))

    async def put(self, key: str, answer: Answer, stage: str) -> None:
        """Store an answer; it is on disk when this returns.

        Answers that come in together are written together: a disk takes some milliseconds for
        each commit, however much is in it.
        """
        text = json.dumps(answer_record(answer), ensure_ascii=False)
        self._keep_tops(answer.tops)
        self._run("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                  (key, text, stage, time.time()))  # fmt: skip
        if self._committed is None:
            loop = asyncio.get_running_loop()
            self._committed = loop.create_future()
            loop.call_soon(self._commit, self._committed)
        # Shielded, so that one row's cancellation does not reach the others that wait for it.
        await asyncio.shield(self._committed)

    def start_run(self) -> None:
        """Forget rows and rejections; the answers stay."""
        self._run("DELETE FROM rows")
        self._run("DELETE FROM rejections")
        self._run("DELETE FROM prompts")
        self._prompts.clear()
        self._db.commit()

    def add_row(self, row: Row) -> None:
        """Store a finished row and what it lost; on disk with the next answer, or at the end."""
        turns = {name: as_dicts(getattr(row, name)) for name in TURNS}
        bare = replace(row, prompt=(), lost=None, kept=(), request=(), conversation=(), tops=())
        values = asdict(bare) | {TOPS: [self._keep_tops(one) for one in row.tops]}
        values |= turns | {"prompt": self._add_prompt(row.prompt)}
        if row.lost is not None:
            self.add_rejection(row.lost)
        self._run("INSERT OR REPLACE INTO rows VALUES (?, ?)",
                  (row.position, json.dumps(values, ensure_ascii=False)))  # fmt: skip

    def _add_prompt(self, prompt: tuple[Message, ...]) -> str:
        """Store a prompt, once for all rows that have it; its hash."""
        known = self._prompts.get(prompt)
        if known is None:
            known = self._prompts[prompt] = prompt_hash(prompt)
            self._run("INSERT OR IGNORE INTO prompts VALUES (?, ?)",
                      (known, json.dumps(as_dicts(prompt), ensure_ascii=False)))  # fmt: skip
        return known

    def add_rejection(self, rejection: Rejection) -> None:
        """Store what was rejected, and why, without secrets; on disk like a row."""
        more = {FILTER: rejection.filter, KEPT: rejection.kept}
        made = rejection.made | {name: value for name, value in more.items() if value}
        self._run(
            "INSERT OR REPLACE INTO rejections VALUES (?, ?, ?, ?, ?)",
            (
                rejection.stage,
                rejection.position,
                rejection.reason,
                redactor.redact(rejection.detail),
                redactor.hide(json.dumps(made, ensure_ascii=False)),
            ),
        )

    def rows(self, tops: bool = False) -> Iterator[Row]:
        """The finished rows in order of position, one at a time; equal prompts are one object.

        Args:
            tops: whether they come with the likeliest tokens of their answers, which are most of
                what a row takes.
        """
        prompts: dict[Any, tuple[Message, ...]] = {}
        for (text,) in self._run("SELECT row FROM rows ORDER BY position"):
            values = json.loads(text)
            prompt = values["prompt"]
            if isinstance(prompt, str):
                if prompt not in prompts:
                    prompts[prompt] = self._prompt(prompt)
                values["prompt"] = prompts[prompt]
            else:  # a row of a version 1 store holds its prompt
                own = as_messages(prompt)
                values["prompt"] = prompts.setdefault(own, own)
            values |= {name: as_messages(values.get(name) or ()) for name in TURNS}
            ids = values.get("token_ids") or ()
            values["token_ids"] = tuple(None if one is None else tuple(one) for one in ids)
            named = values.pop(TOPS, ())
            values[TOPS] = tuple(map(self._tops, named)) if tops else ()
            yield Row(**values)

    def _prompt(self, name: str) -> tuple[Message, ...]:
        found = self._run("SELECT prompt FROM prompts WHERE sha256 = ?", (name,)).fetchone()
        if found is None:
            raise SynthError(
                f"{self.path} has rows whose prompt ({name[:8]}...) is not in it.",
                "The file was changed by something else: start over in another folder (-o).",
            )
        return as_messages(json.loads(found[0]))

    def row_ids(self) -> list[str]:
        """The finished rows' ids in order of position."""
        found = self._run("SELECT json_extract(row, '$.id') FROM rows ORDER BY position")
        return [name for (name,) in found]

    def row_positions(self) -> list[int]:
        """The finished rows' positions, ascending."""
        return [place for (place,) in self._run("SELECT position FROM rows ORDER BY position")]

    def rejections(self, stages: Sequence[str] = STAGES) -> Iterator[Rejection]:
        """What was rejected or lost, by stage (in the order of `stages`) and position."""
        order = " ".join(f"WHEN ? THEN {place}" for place in range(len(stages)))
        found = self._run(
            "SELECT stage, position, reason, detail, made FROM rejections ORDER BY "
            f"CASE stage {order} ELSE {len(stages)} END, stage, position",
            tuple(stages),
        )
        for stage, position, reason, detail, text in found:
            made = json.loads(text)
            by, kept = made.pop(FILTER, ""), made.pop(KEPT, False)
            yield Rejection(stage, position, reason, detail, made, by, kept)

    def rejected(self) -> dict[str, Counter[str]]:
        """How often each reason rejected a row or an input, by stage."""
        counts: dict[str, Counter[str]] = {}
        for stage, reason, count in self._run(COUNTED.format("")):
            counts.setdefault(stage, Counter())[reason] = count
        return counts

    def lost(self) -> Counter[str]:
        """Why rows that are there have no reason though one was to be made, and how often."""
        counts: Counter[str] = Counter()
        for _, reason, count in self._run(COUNTED.format("NOT")):
            counts[reason] += count
        return counts

    def answers(self) -> dict[str, int]:
        """How many answers are stored, by the stage that asked first."""
        return dict(self._run("SELECT stage, count(*) FROM answers GROUP BY stage").fetchall())

    def keys(self) -> list[str]:
        """The keys of all stored answers."""
        return [key for (key,) in self._run("SELECT key FROM answers")]

    def splits(self, draw: str) -> dict[str, str]:
        """The split of each row that was recorded for a draw, by the row's id."""
        return dict(self._run("SELECT id, split FROM splits WHERE draw = ?", (draw,)).fetchall())

    def has_splits(self) -> bool:
        """Whether a split was ever recorded."""
        return self._run("SELECT 1 FROM splits LIMIT 1").fetchone() is not None

    def record_splits(self, draw: str, splits: Mapping[str, str]) -> None:
        """Record on disk on which side of a draw each row is; what is recorded stays.

        Args:
            draw: names what determined it; rows keep their splits under the same name only.
            splits: "train" or "test", by the row's id.
        """
        values = [(draw, name, split) for name, split in splits.items()]
        try:
            with self._db:
                self._db.executemany("INSERT OR IGNORE INTO splits VALUES (?, ?, ?)", values)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def lock(self, key: str) -> asyncio.Lock:
        """A lock under which `key` is looked up and asked for, so that it is asked once."""
        return self._locks.setdefault(key, asyncio.Lock())

    def unlock(self, key: str) -> None:
        """Let go of the lock of a key whose answer is stored."""
        self._locks.pop(key, None)

    def close(self) -> None:
        """Write what is not yet on disk and close the file."""
        try:
            self._db.commit()
            self._db.close()
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _commit(self, committed: asyncio.Future[None]) -> None:
        self._committed = None
        try:
            self._db.commit()
        except sqlite3.Error as error:
            committed.set_exception(self._failed(error))
        else:
            committed.set_result(None)

    def _keep_tops(self, tops: Tops | None) -> str | None:
        try:
            return keep_tops(self._db, tops)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _tops(self, name: str | None) -> Tops | None:
        try:
            return tops_named(self._db, name)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.Error) -> SynthError:
        return SynthError(
            f"The store {self.path} can't be used: {error}.",
            "Check the disk's space and the file's permissions; if the file is broken, "
            "start over in another folder (-o).",
        )
