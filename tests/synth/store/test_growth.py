"""What grows with the rows: neither a store, nor a dataset, nor a process holds a prompt twice."""

import sqlite3
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.dataset.export import export_rows
from synth.dataset.official import export_folder
from synth.engines.base import Message
from synth.errors import SynthError
from synth.store.rows import Row
from synth.store.schema import SCHEMA_VERSION
from synth.store.store import Store
from tests.synth.store.old import old_store

LONG = (
    Message("system", "".join(f"Rule {n}: {n * 7919 % 10007} comes first.\n" for n in range(3000))),
)
SIZE = len(LONG[0].content)  # about 77 KB

# Counts what Arrow holds; it outlives the tests, since a table may be freed late.
POOL = pa.proxy_memory_pool(pa.default_memory_pool())


def row(position, prompt=LONG):
    turns = (Message("assistant", f"answer {position}"),)
    return Row(position, f"id{position:05}", "p", prompt, f"find thing {position * 7919}", "f", "t",
               "r", turns, "turn limit")  # fmt: skip


def filled(path, count):
    store = Store(path)
    for position in range(count):
        store.add_row(row(position))
    return store


def test_a_prompt_is_stored_once(tmp_path):
    store = filled(tmp_path / "store.sqlite", 400)
    store.close()
    assert SIZE > 75_000
    assert (tmp_path / "store.sqlite").stat().st_size < 4 * SIZE
    store = Store(tmp_path / "store.sqlite", read_only=True)
    rows = list(store.rows())
    store.close()
    assert rows == [row(position) for position in range(400)]
    assert len({id(one.prompt) for one in rows}) == 1


def test_rows_of_several_prompts_keep_their_own(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    other = (Message("system", "Another."),)
    store.add_row(row(0))
    store.add_row(row(1, other))
    store.add_row(row(2))
    assert [one.prompt for one in store.rows()] == [LONG, other, LONG]
    store.start_run()
    assert store._db.execute("SELECT count(*) FROM prompts").fetchone() == (0,)
    store.add_row(row(0))
    assert [one.prompt for one in store.rows()] == [LONG]
    store.close()


def test_a_row_whose_prompt_is_gone_is_told(tmp_path):
    store = filled(tmp_path / "store.sqlite", 1)
    store._db.execute("DELETE FROM prompts")
    with pytest.raises(SynthError, match="not in it"):
        list(store.rows())
    store.close()


def test_the_dataset_holds_a_prompt_once_in_a_row_group(tmp_path):
    store = filled(tmp_path / "store.sqlite", 1200)
    counts = export_rows(store, tmp_path, 0, 0)
    store.close()
    [path] = (tmp_path / "data").iterdir()
    metadata = pq.read_metadata(path)
    assert counts == {"train": metadata.num_rows} == {"train": 1200}
    assert path.stat().st_size < SIZE * metadata.num_row_groups
    assert pq.read_table(path, columns=["prompt"])["prompt"][1199].as_py()[0]["content"] == (
        LONG[0].content
    )


def test_a_row_group_is_bounded_in_characters(tmp_path, monkeypatch):
    monkeypatch.setattr("synth.dataset.export.GROUP_CHARACTERS", 10 * SIZE)
    store = filled(tmp_path / "store.sqlite", 95)
    export_rows(store, tmp_path, 0, 0)
    store.close()
    [path] = (tmp_path / "data").iterdir()
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups == 11  # 9 rows each: a row is a prompt and a little more
    assert pq.read_table(path)["id"].to_pylist() == [f"id{position:05}" for position in range(95)]


def test_reading_rows_takes_the_memory_of_a_few(tmp_path):
    store = filled(tmp_path / "store.sqlite", 400)
    tracemalloc.start()
    assert sum(1 for _ in store.rows()) == 400
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    store.close()
    assert peak < 10 * SIZE


def test_a_store_of_the_last_version_is_read_as_it_is_and_goes_on(tmp_path):
    rows = [row(position) for position in range(3)]
    path = old_store(tmp_path / "store.sqlite", rows, {"key": '{"text": "a", "finish": "stop"}'})
    before = path.read_bytes()
    store = Store(path, read_only=True)
    assert list(store.rows()) == rows
    assert store.row_ids() == [one.id for one in rows]
    store.close()
    assert path.read_bytes() == before
    store = Store(path)
    assert list(store.rows()) == rows
    assert store.get("key").text == "a"
    store.add_row(row(3))
    assert list(store.rows()) == [*rows, row(3)]
    store.close()
    versions = sqlite3.connect(path)
    assert versions.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    versions.close()


def test_recorded_splits_stay(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    assert not store.has_splits()
    store.record_splits("one", {"a": "train", "b": "test"})
    store.record_splits("one", {"a": "test", "c": "train"})
    store.record_splits("two", {"a": "test"})
    store.close()
    store = Store(tmp_path / "store.sqlite")
    assert store.splits("one") == {"a": "train", "b": "test", "c": "train"}
    assert store.splits("two") == {"a": "test"}
    assert store.splits("three") == {}
    assert store.has_splits()
    store.close()


@pytest.mark.parametrize("form", ["parquet", "jsonl", "disk"])
@pytest.mark.parametrize("official", [False, True])
def test_an_export_takes_the_memory_of_some_rows(tmp_path, form, official):
    """Whole, the table would be 3,000 times the prompt."""
    if form == "disk":
        datasets = pytest.importorskip("datasets")
    store = filled(tmp_path / "store.sqlite", 3000)
    export_rows(store, tmp_path, 0, 0)
    store.close()
    usual = pa.default_memory_pool()
    pa.set_memory_pool(POOL)
    try:
        counts = export_folder(tmp_path, tmp_path / "out", official, form)
    finally:
        pa.set_memory_pool(usual)
    assert counts == {"train": 3000}
    assert POOL.max_memory() < 2200 * SIZE
    if form == "disk":
        rows = datasets.load_from_disk(str(tmp_path / "out"))["train"]
        assert len(rows) == 3000
        assert "Rule 2999" in str(rows[2999]["context" if official else "prompt"])
