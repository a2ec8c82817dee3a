"""Whatever way a secret comes into a run, no file and no terminal gets it."""

import time

import pytest
import yaml

from synth.secrets import REDACTED
from tests.synth.cli.commands_run import process, synth
from tests.synth.scripted import answers, write_task
from tests.synth.server import Failure, serve

LIVE = "sk-live-4f9a8b7c6d5e4f3a2b1c"
UNKNOWN = "sk-live-00112233445566778899"  # given to no option, so known by its form alone


@pytest.fixture
def server():
    with serve(answers, models=None) as served:
        yield served


def files_with(folder, secret):
    return [path.name for path in folder.rglob("*")
            if path.is_file() and secret.encode() in path.read_bytes()]  # fmt: skip


@pytest.mark.parametrize("option", ["--api-key-env", "--generator-api-key-env"])
def test_a_key_in_place_of_its_variable_stops_the_run_before_it_begins(tmp_path, server, option):
    out = tmp_path / "out"
    code, printed = synth(
        "run",
        write_task(tmp_path / "t"),
        "-o",
        out,
        "--model",
        "m",
        "--base-url",
        server.url,
        "--generator-model",
        "g",
        option,
        LIVE,
    )
    assert code == 1
    assert f"{option} takes the name of an environment variable" in printed
    assert LIVE not in printed
    assert not out.exists()
    assert not server.requests


def test_arguments_and_addresses_are_written_without_their_secrets(tmp_path, server):
    out = tmp_path / "out"
    url = server.url.replace("http://", "http://user:pass-word@")
    arguments = '{"api_key": "argument-secret", "pin": {"password": "x1"}, "top_k": 3}'
    command = ("run", write_task(tmp_path / "t", inputs={"count": 12}), "-o", out, "--model", "m",
               "--base-url", url, "--request-args", arguments)  # fmt: skip
    code, printed = synth(*command)
    assert code == 0, printed
    for secret in ("argument-secret", "pass-word", '"x1"', "x1\\"):
        assert not files_with(out, secret), secret
        assert secret not in printed
    config = yaml.safe_load((out / "synth.yaml").read_text(encoding="utf-8"))
    assert config["target"]["request_args"] == {
        "api_key": REDACTED, "pin": {"password": REDACTED}, "top_k": 3,
    }  # fmt: skip
    assert server.requests[0]["api_key"] == "argument-secret"  # and yet it is sent
    asked = server.count
    assert synth(*command)[0] == 0  # what is redacted is no change
    assert server.count == asked
    assert "argument-secret" not in synth("status", out)[1]


def test_a_folder_whose_files_hold_a_secret_goes_on_and_loses_it(tmp_path, server):
    """Earlier versions wrote arguments as they were given."""
    out = tmp_path / "out"
    command = (
        "run",
        write_task(tmp_path / "t", inputs={"count": 12}),
        "-o",
        out,
        "--model",
        "m",
        "--base-url",
        server.url,
        "--request-args",
        '{"api_key": "argument-secret"}',
    )
    assert synth(*command)[0] == 0
    path = out / "synth.yaml"
    path.write_text(
        path.read_text()
        .replace(REDACTED, "argument-secret")
        .replace("OPENAI_API_KEY", UNKNOWN)
        .replace("--base-url", f"--api-key-env {UNKNOWN} --base-url")
    )
    assert UNKNOWN not in synth("status", out)[1]
    assert synth("report", out)[0] == 0
    assert files_with(out, UNKNOWN) == ["synth.yaml"]
    assert files_with(out, "argument-secret") == ["synth.yaml"]
    asked = server.count
    code, printed = synth(*command)
    assert code == 0, printed
    assert server.count == asked
    assert not files_with(out, "argument-secret")
    assert not files_with(out, UNKNOWN)


@pytest.mark.parametrize("status", [401, 400, 500])
def test_a_server_that_quotes_the_key_is_quoted_without_it(tmp_path, server, monkeypatch, status):
    monkeypatch.setenv("MY_KEY", "quoted-key-of-mine")
    words = {"error": {"message": "Incorrect API key provided: quoted-key-of-mine."}}
    server.fault = lambda messages: (
        Failure(status, words) if "item number 1" in messages[-1]["content"] else None
    )
    out = tmp_path / "out"
    running = process("run", write_task(tmp_path / "t", inputs={"count": 12}), "-o", out,
                      "--model", "m", "--base-url", server.url, "--api-key-env", "MY_KEY",
                      "--max-failure-rate", 1, "--inputs", inputs(tmp_path))  # fmt: skip
    if status == 500:  # six repetitions take their time; the warning is what is looked at
        log = out / "run.log"
        while not log.exists() or "answered with an error" not in log.read_text(encoding="utf-8"):
            assert running.poll() is None
            time.sleep(0.05)
        running.terminate()
    printed, _ = running.communicate(timeout=60)
    assert "quoted-key-of-mine" not in printed
    assert not files_with(out, "quoted-key-of-mine")
    assert files_with(out, f"provided: {REDACTED}"), printed
    assert "provided" in printed or status == 400


def inputs(folder):
    path = folder / "inputs.txt"
    path.write_text("".join(f"please find item number {n} for me\n" for n in range(12)))
    return path


@pytest.mark.parametrize(
    ("file", "secret", "said"),
    [
        ("synth.yaml", "value-of-a-key", "the value of SOME_API_KEY"),
        ("report.html", UNKNOWN, "what looks like a key"),
        ("rejected.jsonl", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz", "what looks like a key"),
    ],
)
def test_push_refuses_files_in_which_a_secret_stands(
    tmp_path, server, monkeypatch, file, secret, said
):
    out = tmp_path / "out"
    assert synth("run", write_task(tmp_path / "t", inputs={"count": 12}), "-o", out, "--model", "m",
                 "--base-url", server.url)[0] == 0  # fmt: skip
    monkeypatch.setenv("SOME_API_KEY", "value-of-a-key")
    push = ("push", out, "--repo", "me/x", "--dry-run")
    assert synth(*push)[0] == 0
    path = out / file
    path.write_text(path.read_text(encoding="utf-8") + f"# {secret}\n", encoding="utf-8")
    number = path.read_text(encoding="utf-8").count("\n")
    code, printed = synth(*push)
    assert code == 1
    assert f"{file}, line {number}: {said}" in printed
    assert secret not in printed.partition("Error:")[2]
    assert synth(*push, "--allow-example-keys")[0] == (1 if "value" in said else 0)


def test_push_looks_into_the_rows(tmp_path, server):
    task = write_task(tmp_path / "t", prompt=f"You are a shop agent. Never say {UNKNOWN}.",
                      inputs={"count": 12, "copied_words": 0})  # fmt: skip
    out = tmp_path / "out"
    code, printed = synth("run", task, "-o", out, "--model", "m", "--base-url", server.url)
    assert code == 0, printed
    code, printed = synth("push", out, "--repo", "me/x", "--dry-run")
    assert code == 1
    assert "train-00000-of-00001.parquet, row 1, `prompt`: what looks like a key" in printed
    assert printed.count("`prompt`") == 2  # once in each split
