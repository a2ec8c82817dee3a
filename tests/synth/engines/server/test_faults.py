"""Each fault of a server, through `synth run`: what is done about it, and what the user reads."""

import json
import re
import time

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from synth.cli.commands import main
from synth.engines.endpoints import Endpoints, pause
from synth.engines.messages import as_messages
from synth.errors import EngineError
from synth.running.limits import MANY, InOrder
from synth.store.store import Store
from tests import ROOT
from tests.synth.scripted import answers, stage_of, write_task
from tests.synth.server import Failure, Reply, serve

PAGE = (ROOT / "docs" / "faults.md").read_text()
ROWS = 6
OOM = Failure(500, {"error": {"message": "CUDA error"}})
SLOW_DOWN = {"error": {"message": "Slow down."}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The same pauses, a hundred times as fast."""
    monkeypatch.setattr("synth.engines.endpoints.FIRST_PAUSE", 0.005)
    monkeypatch.setenv("COLUMNS", "200")


def run_in(folder, server, out, *more):
    """`synth run` on the inputs in `folder`: (exit code, what was printed, the dataset's bytes)."""
    words = ("run", folder / "t", "-o", folder / out, "--inputs", folder / "inputs.txt",
             "--model", "tiny", "--base-url", server.url, *more)  # fmt: skip
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    train = folder / out / "data" / "train-00000-of-00001.parquet"
    printed = result.output.replace(server.url, "URL")
    return result.exit_code, printed, train.read_bytes() if train.exists() else b""


def prepare(folder):
    """A task, and a few inputs for it."""
    write_task(folder / "t", conversations={"max_turns": 2}, split={"test": 0})
    (folder / "inputs.txt").write_text("".join(f"find item {number}\n" for number in range(ROWS)))
    return folder


@pytest.fixture
def synth(tmp_path):
    prepare(tmp_path)
    return lambda server, *more: run_in(tmp_path, server, "out", *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The dataset's bytes when nothing fails."""
    with serve(answers) as server:
        return run_in(prepare(tmp_path_factory.mktemp("whole")), server, "out")[2]


def reads(printed, words):
    """The user reads these words, in a table's cell of any width, too; docs/faults.md says so."""
    said = " ".join(re.sub("[│┃]", " ", printed).split())
    assert words in said
    page = " ".join(PAGE.split())
    assert words in page, f"docs/faults.md does not have: {words}"


PASSING = [
    (Failure(429, SLOW_DOWN, {"Retry-After": "0.3"}), "URL refuses requests as too many"),
    (Failure(429, SLOW_DOWN), "URL refuses requests as too many"),
    (OOM, "URL answered with an error (500)"),
    (Failure(503, {"error": {"message": "Loading model"}}), "URL is not ready"),
    (Failure(0), "URL broke off the connection"),
    (Failure(429, SLOW_DOWN, {"Retry-After": "0"}), "URL refuses requests as too many"),
    (Failure(200, hang=1.0), "URL did not answer within"),
    (Failure(200, trickle=2.0), "URL did not answer within"),
    (Failure(200, raw=b'{"choices": [{"mess'), "URL sent a reply that is not a chat completion"),
    (Failure(200, raw=b'{"choices": []}'), "URL sent a reply that is not a chat completion"),
    (Failure(200, raw=b'"hello"'), "URL sent a reply that is not a chat completion"),
    (Failure(200, raw=b'{"choices": [{"message": null}]}'), "that is not a chat completion"),
]


@pytest.mark.parametrize(("failure", "words"), PASSING)
def test_what_passes_is_waited_for_and_changes_nothing(synth, whole, failure, words):
    with serve(answers) as server:
        server.failures = [failure] * 2
        began = time.monotonic()
        code, printed, data = synth(server, "--timeout", 0.5)
        took = time.monotonic() - began
    assert code == 0, printed
    assert data == whole
    assert server.refused == 2
    reads(printed, words)
    if failure.headers.get("Retry-After") == "0.3":
        assert "asked again in 0.3 s" in printed
        assert took >= 0.3


LASTING = [
    (Failure(429, SLOW_DOWN), "URL refuses requests as too many: Slow down.", "--concurrency"),
    (Failure(429, SLOW_DOWN, {"Retry-After": "7200"}), "It wants to be asked again in 7200 s",
     "quota"),
    (Failure(429, {"error": {"message": "No credit.", "code": "insufficient_quota"}}),
     "URL answers no more, the account is used up: No credit.", "Top it up"),
    (Failure(503, {"error": {"message": "Loading model"}}), "URL is not ready: Loading model",
     "server's log"),
    (Failure(401, {"error": {"message": "Bad key."}}), "URL refused the API key in OPENAI_API_KEY",
     "--api-key-env"),
    (Failure(404, {"error": {"message": "No such model."}}), "URL has no model 'tiny'", "--model"),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "words", "cure"), LASTING)
def test_what_lasts_for_everybody_stops_the_run_with_cause_and_cure(
    synth, whole, tmp_path, failure, words, cure
):
    with serve(answers) as server:
        seen = []

        def after_ten(messages):
            seen.append(messages)
            return failure if len(seen) > 10 else None

        server.fault = after_ten
        code, printed, _ = synth(server, "--patience", 1)
        assert code == 1
        error, _, what_to_do = printed.partition("Error: ")[2].partition("What to do: ")
        reads(error, words)
        assert cure in what_to_do
        asked = server.count
        store = Store(tmp_path / "out" / "store.sqlite", read_only=True)
        stored = sum(store.answers().values())
        store.close()
        server.fault = None
        code, printed, data = synth(server)
    assert code == 0, printed
    assert data == whole
    assert 0 < stored <= asked == 10  # some were on their way when it stopped
    needed = {json.dumps(body) for body in server.requests}
    assert server.count - asked == len(needed) - stored


@pytest.mark.parametrize("failure", [OOM, Failure(0), Failure(200, raw=b"<html>"),
                                     Failure(200, hang=0.5)])  # fmt: skip
def test_a_row_that_is_not_answered_stays_pending(synth, whole, failure):
    def one_row(messages):
        own = (
            messages[-1]["content"] == "find item 2" and stage_of(as_messages(messages)) == "floor"
        )
        return failure if own else None

    with serve(answers) as server:
        server.fault = one_row
        code, printed, data = synth(server, "--timeout", 0.25)
        assert code == 1
        reads(printed, "Row 3 failed in outputs and stays pending: URL")
        reads(printed, "1 of 6 rows failed and are not in the dataset; the other 5 are.")
        assert "outputs │ 5 │ 0 │ 1" in re.sub(" +", " ", printed)
        assert data not in {whole, b""}
        tries = server.refused
        assert tries == (2 if failure.hang else 7)
        server.fault = None
        code, printed, data = synth(server)
    assert code == 0, printed
    assert data == whole
    assert len({json.dumps(body) for body in server.requests}) == server.count


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(""), "teacher output empty"),
        (Reply(None), "teacher output empty"),
        (Reply("search[", "length"), "teacher output cut by the token limit"),
        (Reply(None, "length"), "teacher output cut by the token limit"),
        (Reply("", "content_filter"), "refused by the server's content filter"),
        (Failure(400, {"error": {"message": "This model's maximum context length is 9 tokens"}}),
         "longer than the model's context"),
        (Failure(400, {"error": {"message": "No lone surrogates."}}),
         "refused by the server (400)"),
    ],
)  # fmt: skip
def test_a_row_that_can_t_be_answered_is_rejected_with_its_reason(synth, tmp_path, reply, reason):
    def of_row(messages):
        teacher = stage_of(as_messages(messages)) == "teacher"
        return teacher and messages[-1]["content"] == "find item 2"

    def fault(messages):
        return reply if isinstance(reply, Failure) and of_row(messages) else None

    def script(messages):
        return reply if isinstance(reply, Reply) and of_row(messages) else answers(messages)

    with serve(script) as server:
        server.fault = fault
        code, printed, _ = synth(server)
    assert code == 0, printed
    reads(printed, reason)
    [line] = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == reason
    assert "outputs │ 5 │ 1 │ 0" in re.sub(" +", " ", printed)


def test_a_reply_with_odd_parts_is_an_answer(synth, tmp_path):
    """Half a character, a text for the usage: nothing that a row or a count could hold."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "half \ud83d"},
              "finish_reason": "stop"}  # fmt: skip
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "tiny",
            "choices": [choice], "usage": "n/a"}  # fmt: skip

    def one_row(messages):
        floor = stage_of(as_messages(messages)) == "floor"
        return Failure(200, body) if floor and messages[-1]["content"] == "find item 2" else None

    with serve(answers) as server:
        server.fault = one_row
        code, printed, _ = synth(server)
    assert code == 0, printed
    rows = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["floor_output"] for row in rows].count("half \ufffd") == 1


def test_what_is_wrong_with_every_request_stops_the_run(tmp_path):
    """A parameter that the server does not know is nothing to reject 1,000 rows for."""
    task = write_task(tmp_path / "t", inputs={"count": 200})
    words = ["run", task, "-o", tmp_path / "out", "--model", "tiny", "--base-url"]
    with serve(answers) as server:
        server.always = Failure(400, {"error": {"message": "Unsupported parameter: max_tokens."}})
        result = CliRunner().invoke(main, [str(word) for word in [*words, server.url]])
    assert result.exit_code == 1
    reads(result.output, "All of the first 20 requests were refused by the server (400): ")
    assert "Unsupported parameter: max_tokens." in result.output
    assert server.refused < 100


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "http://[", "ftp://host/v1"])
def test_an_address_that_is_none_is_told_at_once(tmp_path, url):
    task = write_task(tmp_path / "t")
    words = ["preview", str(task), "--model", "tiny", "--base-url", url]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert f"--base-url {url} is not the URL of a server." in result.output


def test_a_password_in_the_address_is_never_told(synth, tmp_path):
    with serve(answers) as server:
        server.failures = [Failure(503, {"error": {"message": "Loading"}})] * 2
        with_login = server.url.replace("://", "://joe:s3cret@")
        code, printed, _ = synth(server, "--base-url", with_login)
    assert code == 0, printed
    assert "is not ready: Loading" in printed
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert "s3cret" not in printed
    assert not [path.name for path in files if b"s3cret" in path.read_bytes()]


def test_what_a_server_wants_is_never_less_than_the_pause_between_strikes():
    endpoints = Endpoints([("one", None)])
    [one] = endpoints.all
    for strike in range(1, 6):
        endpoints.leave_out(one, time.monotonic(), EngineError("busy"), 0.0)
        assert one.due - one.paused == pytest.approx(pause(strike))
        time.sleep(0.001)
    endpoints.leave_out(one, time.monotonic(), EngineError("busy"), 100.0)
    assert one.due - one.paused == pytest.approx(100)


def test_quick_rejections_do_not_outrun_slow_answers():
    """Of 100 rows 30 are refused at once, the others take their time."""
    rows = InOrder()
    for position in range(100):
        if position % 10 < 3:
            rows.add(position, False)
            assert rows.alive
    for position in range(100):
        if position % 10 >= 3:
            rows.add(position, True)
            assert rows.alive
    dead = InOrder()
    for position in (*range(5, 20), *range(5)):
        assert dead.alive
        dead.add(position, False)
    assert not dead.alive
    stuck = InOrder()
    for position in range(1, MANY):
        stuck.add(position, False)
        assert stuck.alive
    stuck.add(MANY, False)
    assert not stuck.alive


def test_a_server_that_is_not_there(synth):
    with serve(answers) as server:
        pass
    began = time.monotonic()
    code, printed, _ = synth(server)
    assert code == 1
    assert time.monotonic() - began < 5
    reads(printed, "There is no server at URL")
    assert "--base-url" in printed


def test_a_wrong_model_name_names_those_there_are(synth):
    with serve(answers, models=["small", "large"]) as server:
        code, printed, _ = synth(server)
    assert code == 1
    reads(printed, "URL has no model 'tiny'")
    assert "small, large" in printed


def test_too_many_failures_stop_the_run(synth, tmp_path):
    (tmp_path / "inputs.txt").write_text("".join(f"find item {n}\n" for n in range(90)))

    def every_third(messages):
        item = messages[-1]["content"].rpartition(" ")[2]
        own = stage_of(as_messages(messages)) == "floor" and item.isdigit() and int(item) % 3 == 0
        return OOM if own else None

    with serve(answers) as server:
        server.fault = every_third
        code, printed, _ = synth(server)
        assert code == 1
        reads(printed, "rows failed in outputs, more than 20%. The last one: URL answered")
        assert "--max-failure-rate" in printed
        assert server.count < 300  # of 60 x 5 and 30
        code, printed, _ = synth(server, "--max-failure-rate", 0.4)
        assert code == 1
        assert "30 of 90 rows failed and are not in the dataset; the other 60 are." in printed


def test_a_try_for_an_input_that_fails_changes_no_other_input(tmp_path):
    task = write_task(tmp_path / "t", inputs={"count": 12}, split={"test": 0})

    def run(server, out):
        words = ["run", task, "-o", tmp_path / out, "--model", "tiny", "--base-url", server.url]
        code = CliRunner().invoke(main, [str(word) for word in words]).exit_code
        return code, (tmp_path / out / "data" / "train-00000-of-00001.parquet").read_bytes()

    with serve(answers) as server:
        _, whole = run(server, "whole")
        fourth = server.requests[3]["messages"]
        server.fault = lambda messages: OOM if messages == fourth else None
        server.requests.clear()
        code, part = run(server, "out")
        assert (code, part == whole) == (1, False)
        server.fault = None
        assert run(server, "out") == (0, whole)
        assert len({json.dumps(body) for body in server.requests}) == server.count
