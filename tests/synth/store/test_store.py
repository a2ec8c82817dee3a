import asyncio
import hashlib
import json
import random
import sqlite3

import pytest

from synth.engines.base import Answer, Message, Request, Sampling, Usage
from synth.errors import EngineError, RowError, SynthError
from synth.store.cached import cached
from synth.store.fingerprint import request_key, row_id
from synth.store.rows import Rejection, Row
from synth.store.store import Store
from tests.synth.scripted import Scripted

ASK = Request((Message("user", "hi"),), Sampling(0.5, 0.9, 10), seed=1)
MODEL = {"model": "m"}


def nothing(stage, answer, asked):
    pass


@pytest.mark.parametrize(
    "other",
    [
        Request((Message("system", "hi"),), ASK.sampling, 1),
        Request((Message("user", "hi "),), ASK.sampling, 1),
        Request(ASK.messages, Sampling(0.6, 0.9, 10), 1),
        Request(ASK.messages, Sampling(0.5, 0.8, 10), 1),
        Request(ASK.messages, Sampling(0.5, 0.9, 11), 1),
        Request(ASK.messages, ASK.sampling, 2),
    ],
)
def test_what_changes_an_answer_changes_its_key(other):
    assert request_key(MODEL, other) != request_key(MODEL, ASK)


def test_a_key_is_the_digest_of_the_whole_request():
    """As the first version made it: stored answers are found under it."""
    draw = random.Random(0)
    texts = ["", "hi", 'a "quote" \\ \n\t\x00\x1f\x7f', "é\u2028 😀 \ud800", "rule " * 9000]
    for number in range(400):
        turns = tuple(Message(draw.choice(["system", "user", "assistant"]), draw.choice(texts))
                      for _ in range(draw.randrange(1, 6)))  # fmt: skip
        heat = draw.choice([0, 0.0, 1, 0.7])
        request = Request(turns, Sampling(heat, draw.choice([1, 0.9]), number), number)
        model = {"model": draw.choice(texts), "dtype": "x"} if number % 2 else {"model": "m"}
        whole = {
            "model": model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
            "temperature": float(heat),
            "top_p": float(request.sampling.top_p) if heat else 1.0,
            "max_tokens": number,
            "seed": number if heat else 0,
        }
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        expected = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        assert request_key(model, request) == expected


def test_the_model_changes_the_key():
    assert request_key({"model": "n"}, ASK) != request_key(MODEL, ASK)
    assert request_key({**MODEL, "dtype": "float32"}, ASK) != request_key(MODEL, ASK)


def test_greedy_answers_depend_on_neither_seed_nor_top_p():
    greedy = [
        Request(ASK.messages, Sampling(0.0, top_p, 10), seed) for top_p, seed in ((1, 0), (0.5, 9))
    ]
    assert len({request_key(MODEL, request) for request in greedy}) == 1


def test_a_row_id_is_the_hash_of_prompt_and_input():
    # printf shop-0123abcdfind a hat | sha256sum
    assert row_id("shop-0123abcd", "find a hat") == "686c0c4b1d34a3e1"


def test_an_answer_is_asked_once_and_found_again(tmp_path):
    engine, heard = Scripted(lambda messages, seed: "yes \ud83d\ude00".encode(
        "utf-16", "surrogatepass").decode("utf-16")), []  # fmt: skip

    async def ask(store):
        generate = cached(engine, store, "outputs", lambda *what: heard.append(what[2]))
        return await asyncio.gather(*(generate(ASK) for _ in range(5)))

    store = Store(tmp_path / "store.sqlite")
    first = asyncio.run(ask(store))
    store.close()
    store = Store(tmp_path / "store.sqlite")
    second = asyncio.run(ask(store))
    assert store.answers() == {"outputs": 1}
    store.close()
    assert first == second == [Answer("yes 😀", "stop", usage=Usage(10, 5))] * 5
    assert len(engine.asked) == 1
    assert heard == [True] + [False] * 9


def test_an_answer_is_on_disk_before_it_is_used(tmp_path):
    path = tmp_path / "store.sqlite"
    store = Store(path)

    async def ask():
        await cached(Scripted(lambda m, s: "yes"), store, "outputs", nothing)(ASK)
        other = sqlite3.connect(path)
        count = other.execute("SELECT count(*) FROM answers").fetchone()[0]
        other.close()
        return count

    assert asyncio.run(ask()) == 1
    store.close()


@pytest.mark.parametrize("error", [RowError("too long"), EngineError("gone")])
def test_what_was_not_answered_is_not_stored(tmp_path, error):
    store = Store(tmp_path / "store.sqlite")
    engine = Scripted(lambda messages, seed: error)
    for _ in range(2):
        with pytest.raises(type(error)):
            asyncio.run(cached(engine, store, "outputs", nothing)(ASK))
    assert len(engine.asked) == 2
    assert store.answers() == {}
    store.close()


def test_rows_and_rejections_read_back_in_order(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    turns = (Message("user", "é\u2028"), Message("assistant", "b"))
    rows = [Row(i, f"id{i}", "p", turns, "x", "f", "t", "r", turns, "turn limit") for i in (2, 0)]
    for row in rows:
        store.add_row(row)
    store.add_rejection(Rejection("reasons", 1, "reason empty", "", {"input": "y"}))
    store.add_rejection(Rejection("inputs", 7, "duplicate", "", {"text": "y"}))
    assert list(store.rows()) == rows[::-1]
    assert store.row_ids() == ["id0", "id2"]
    assert [r.stage for r in store.rejections()] == ["inputs", "reasons"]
    assert store.rejected()["reasons"] == {"reason empty": 1}
    store.start_run()
    assert not store.row_ids()
    assert not store.rejected()
    store.close()


def test_a_file_that_is_no_store_is_refused(tmp_path):
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, but long enough to look like one" * 40)
    with pytest.raises(SynthError, match="can't be used"):
        Store(path)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(SynthError, match="another version"):
        Store(path)
