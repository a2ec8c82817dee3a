"""`--logprobs`: from the target's answers with the prompt to the dataset's columns, and back."""

from __future__ import annotations

import json
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from synth.api import Model as make_model
from synth.api import make
from synth.cli.commands import main
from synth.dataset.tops import tops_columns
from synth.engines.messages import as_messages
from synth.engines.tops import Tops
from synth.errors import SynthError
from synth.store.rows import Row, to_record
from synth.store.store import Store
from tests.synth.engines.server.telling import whole_reply
from tests.synth.scripted import shop, stage_of, write_task
from tests.synth.server import serve
from tests.tiny import save_tiny

TRAIN = "data/train-00000-of-00001.parquet"
KINDS = {
    "top_ids": pa.list_(pa.list_(pa.list_(pa.int32()))),
    "top_logprobs": pa.list_(pa.list_(pa.list_(pa.float16()))),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def telling(tokenizer):
    """A server that answers as `shop` does and tells the tokens, and what is asked for beside."""

    def answer(body):
        text = shop(as_messages(body["messages"]))
        return whole_reply(tokenizer, text, body.get("top_logprobs", 0))

    return answer


@pytest.fixture
def server(tokenizer):
    with serve(lambda messages: None, models=None) as running:
        running.answer_body = telling(tokenizer)
        yield running


def synth(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def run(tmp_path, folder, server):
    task = write_task(tmp_path / "t", inputs={"count": 5}, split={"test": 0})

    def run(*more, out=tmp_path / "out"):
        return synth("run", task, "-o", out, "--model", "m", "--base-url", server.url,
                     "--tokenizer", folder, *more)  # fmt: skip

    run.out = tmp_path / "out"
    return run


def asked(server):
    """The stages of the requests since the last time, without the two that look at the server."""
    bodies = [body for body in server.requests if body["max_tokens"] > 1]
    server.requests.clear()
    return [(stage_of(as_messages(body["messages"])), body.get("top_logprobs")) for body in bodies]


def test_rows_have_them_beside_the_tokens_of_what_the_target_answers_with_the_prompt(
    run, server, tokenizer
):
    code, printed = run("--logprobs", "3")
    assert code == 0, printed
    # The teacher is asked for them, nobody else.
    found = asked(server)
    assert {stage for stage, k in found if k} == {"teacher"}
    assert {k for stage, k in found if stage == "teacher"} == {3}
    table = pq.read_table(run.out / TRAIN)
    assert {name: table.schema.field(name).type for name in KINDS} == KINDS
    rows = table.to_pylist()
    assert len(rows) == 5
    assert max(len(row["token_ids"]) for row in rows) > 1
    for row in rows:
        for ids, tops, nats in zip(row["token_ids"], row["top_ids"], row["top_logprobs"],
                                   strict=True):  # fmt: skip
            count = len(tokenizer)
            assert tops == [[(token + step) % count for step in range(3)] for token in ids]
            assert nats == [[-0.25, -3.5, -4.5]] * len(ids)
    config = yaml.safe_load((run.out / "synth.yaml").read_text())
    assert config["task"]["outputs"]["logprobs"] == 3
    answers = sum(len(row["token_ids"]) for row in rows)
    line = f"Likeliest tokens kept (`outputs.logprobs` 3): of {answers} of {answers} answers, at"
    assert line in " ".join(printed.split())
    assert "hold 82.0% of the probability" in " ".join(printed.split())
    card = (run.out / "README.md").read_text()
    assert "`top_logprobs`" in card
    assert f"of {answers} of {answers} answers" in card
    # All of it is in the store, once; a second run of the same asks nothing.
    first = (run.out / TRAIN).read_bytes()
    assert run("--logprobs", "3")[0] == 0
    assert not server.requests
    assert (run.out / TRAIN).read_bytes() == first


def test_a_folder_whose_answers_lack_them_asks_for_these_again_when_told_to(run, server, tmp_path):
    assert run()[0] == 0
    before = asked(server)
    assert not any(k for _, k in before)
    assert pq.read_table(run.out / TRAIN)["top_ids"].null_count == 5
    code, printed = run("--logprobs", "3")
    assert code == 1
    assert "task.outputs.logprobs: 0 -> 3" in printed
    assert "asked for again, and nothing else is" in " ".join(printed.split())
    assert not server.requests
    code, printed = run("--logprobs", "3", "--resume", "changed")
    assert code == 0, printed
    again = asked(server)
    assert {stage for stage, _ in again} == {"teacher"}
    assert len(again) == sum(stage == "teacher" for stage, _ in before)
    assert run("--logprobs", "3", out=tmp_path / "new")[0] == 0
    assert (run.out / TRAIN).read_bytes() == (tmp_path / "new" / TRAIN).read_bytes()
    asked(server)
    # Fewer are among those that are there, more are not; without them, rows have none.
    assert run("--logprobs", "2", "--resume", "changed")[0] == 0
    assert not server.requests
    rows = pq.read_table(run.out / TRAIN).to_pylist()
    assert {len(place) for row in rows for turn in row["top_ids"] for place in turn} == {2}
    assert run("--resume", "changed")[0] == 0
    assert not server.requests
    assert pq.read_table(run.out / TRAIN)["top_ids"].null_count == 5
    assert run("--logprobs", "4", "--resume", "changed")[0] == 0
    assert set(asked(server)) == {("teacher", 4)}


def test_an_answer_that_came_without_them_is_a_null_and_is_not_asked_for_ever(
    run, server, tokenizer
):
    answer, answered = telling(tokenizer), []

    def sometimes(body):
        reply = answer(body)
        answered.append(bool(body.get("top_logprobs")) and body["max_tokens"] > 1)
        if sum(answered) % 2 == 0 and answered[-1]:
            reply.choice.pop("logprobs")
        return reply

    server.answer_body = sometimes
    code, printed = run("--logprobs", "3", "--concurrency", "1")
    assert code == 0, printed
    rows = pq.read_table(run.out / TRAIN).to_pylist()
    held = [turn for row in rows for turn in row["top_ids"] or [None] * len(row["token_ids"])]
    assert 0 < sum(turn is None for turn in held) < len(held)
    assert all(row["token_ids"] and all(row["token_ids"]) for row in rows)
    without = sum(turn is None for turn in held)
    assert f"Answers without them: {without}." in " ".join(printed.split())
    server.requests.clear()
    assert run("--logprobs", "3")[0] == 0
    assert not server.requests


def test_python_goes_on_with_what_the_command_has_begun(run, server, folder, tmp_path):
    assert run("--logprobs", "3")[0] == 0
    first = (run.out / TRAIN).read_bytes()
    server.requests.clear()
    model = make_model("m", base_url=server.url, tokenizer=str(folder))
    made = make(tmp_path / "t", model, folder=run.out, logprobs=3)
    assert (made.rows, made.logprobs) == (5, 3)
    assert not server.requests
    assert (run.out / TRAIN).read_bytes() == first
    assert "logprobs=3" in yaml.safe_load((run.out / "synth.yaml").read_text())["run"]["command"]
    with pytest.raises(SynthError, match=r"task.outputs.logprobs: 3 -> 0"):
        make(tmp_path / "t", model, folder=run.out)
    with pytest.raises(SynthError, match="fewer than none"):
        make(tmp_path / "t", model, folder=run.out, logprobs=-1)


def test_without_a_tokenizer_nothing_is_begun(tmp_path, server):
    task = write_task(tmp_path / "t")
    for command in (("run", task, "-o", tmp_path / "out"), ("preview", task)):
        code, printed = synth(*command, "--model", "m", "--base-url", server.url, "--logprobs", 3)
        assert code == 1
        assert "the tokenizer of m is not known" in " ".join(printed.split())
        assert "--tokenizer" in printed
    assert not server.requests
    assert not (tmp_path / "out" / "store.sqlite").exists()


def test_a_limit_of_vllms_that_is_too_low_is_told_before_anything_is_begun(tmp_path, folder):
    task = write_task(tmp_path / "t")
    limit = '{"max_logprobs": 2}'
    code, printed = synth("run", task, "-o", tmp_path / "out", "--model", folder, "--engine",
                          "vllm", "--engine-args", limit, "--logprobs", 3)  # fmt: skip
    assert code == 1
    assert "--logprobs 3: --engine-args has max_logprobs 2" in " ".join(printed.split())
    assert not (tmp_path / "out").exists()


def test_preview_mentions_them(tmp_path, folder, server, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    task = write_task(tmp_path / "t")
    code, printed = synth("preview", task, "-n", 1, "--model", "m", "--base-url", server.url,
                          "--tokenizer", folder, "--logprobs", 3)  # fmt: skip
    assert code == 0, printed
    assert "the 3 likeliest tokens at each of" in printed


def test_exports_have_them_or_leave_them_out(run, tmp_path):
    assert run("--logprobs", "3")[0] == 0
    whole = pq.read_table(run.out / TRAIN).to_pylist()
    for form in ("jsonl", "parquet", "disk", "messages", "sharegpt", "openai"):
        out = tmp_path / form
        assert synth("export", run.out, "--format", form, "-o", out)[0] == 0
        if form == "disk":
            import datasets

            made = datasets.load_from_disk(str(out))["train"].to_list()
        elif form == "parquet":
            made = pq.read_table(out / "train.parquet").to_pylist()
        else:
            lines = (out / "train.jsonl").read_text(encoding="utf-8").splitlines()
            made = [json.loads(line) for line in lines]
        names = {name: [row.get(name) for row in made] for name in KINDS}
        if form in ("jsonl", "parquet", "disk"):
            assert names == {name: [row[name] for row in whole] for name in KINDS}
        else:
            assert names == {name: [None] * 5 for name in KINDS}
    code, _ = synth("export", run.out, "--official-schema", "--format", "parquet",
                    "-o", tmp_path / "official")  # fmt: skip
    assert code == 0
    assert not set(KINDS) & set(pq.read_table(tmp_path / "official/train.parquet").column_names)


def row(place, tops, **fields):
    ids = tuple(None if one is None else tuple(range(one.tokens)) for one in tops)
    return Row(place, f"id{place}", "p", (), "hi", teacher_output="a", tops=tops, token_ids=ids,
               tokenizer="t" if tops else "", **fields)  # fmt: skip


A = Tops.of(2, [{5: -0.5, 9: -1.0}, {9: -0.25, 7: -3.0, 1: -2.0}])
B = Tops.of(3, [{1: -0.25, 2: -2.0, 3: -4.0}])
ROWS = [row(0, (A, None, B)), row(1, ()), row(2, (None,)), row(3, (B,))]


def test_columns_made_of_bytes_are_those_made_of_numbers():
    made = tops_columns(ROWS)
    for name, column in zip(KINDS, made, strict=True):
        column.validate(full=True)
        assert column.type == KINDS[name]
        assert column.to_pylist() == [to_record(one)[name] for one in ROWS]
    assert made[0].to_pylist()[0] == [[[5, 9], [9, 1]], None, [[1, 2, 3]]]
    assert [column.to_pylist() for column in tops_columns([])] == [[], []]


def test_fewer_of_them_are_the_likeliest():
    assert B.first(1) == Tops.of(1, [{1: -0.25}])
    assert B.first(3) == B
    assert Tops(3).first(2) == Tops(2)
    assert A.digest != Tops(2, A.logprobs, A.ids).digest


def test_the_store_holds_them_once_and_gives_them_when_asked(tmp_path):
    path = tmp_path / "store.sqlite"
    store = Store(path)
    for one in [*ROWS, row(4, (B, B))]:
        store.add_row(one)
    assert [one.tops for one in store.rows(tops=True)] == [*(r.tops for r in ROWS), (B, B)]
    assert [one.tops for one in store.rows()] == [()] * 5
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*), sum(length(ids)) FROM tops").fetchone() == (2, 28)
        # A store of the version before has no such table, and goes on.
        db.executescript("DROP TABLE tops; DELETE FROM rows; PRAGMA user_version=4;")
    store = Store(path, read_only=True)
    assert list(store.rows(tops=True)) == []
    store.close()
    store = Store(path)
    store.add_row(ROWS[0])
    assert [one.tops for one in store.rows(tops=True)] == [ROWS[0].tops]
    store.close()
