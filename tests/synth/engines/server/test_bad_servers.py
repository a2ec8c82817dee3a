"""One bad server of several is left out; Azure's addresses; what of an address is shown."""

import pytest
from click.testing import CliRunner

from synth.cli.commands import main
from synth.engines.server.urls import split_query, without_login
from tests.synth.engines.server.test_faults import prepare, run_in
from tests.synth.scripted import answers, write_task
from tests.synth.server import Failure, serve


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def run_at(folder, address, out):
    """`synth run` on the inputs in `folder` at one address: (exit code, what was printed)."""
    words = ["run", folder / "t", "-o", folder / out, "--inputs", folder / "inputs.txt",
             "--model", "tiny", "--base-url", address]  # fmt: skip
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.output


def refusal(status, words="No."):
    return Failure(status, {"error": {"message": words}})


BAD = [
    (refusal(401), "BAD refused the API key in OPENAI_API_KEY: No."),
    (refusal(403), "BAD refused the API key in OPENAI_API_KEY: No."),
    (refusal(402), "BAD answers no more, the account is used up: No."),
    (refusal(404), "BAD has no model 'tiny': No."),
    (refusal(405), "BAD has no model 'tiny': No."),
    (refusal(400, "Server is pinned to 'other'"), "BAD has no model 'tiny'"),
]


@pytest.mark.parametrize(("failure", "words"), BAD)
def test_a_bad_server_is_left_out_with_a_warning_and_the_run_goes_on(tmp_path, failure, words):
    prepare(tmp_path)
    with serve(answers) as good, serve(answers) as bad:
        _, _, whole = run_in(tmp_path, good, "whole")
        bad.always = failure
        code, printed, data = run_in(tmp_path, good, "out", "--base-url", bad.url)
    printed = " ".join(printed.replace(bad.url, "BAD").split())
    assert (code, data) == (0, whole), printed
    assert words in printed
    assert printed.count("It is left out for the rest of the run") == 1
    assert bad.refused <= 32  # those that were under way together


def test_only_when_all_are_bad_does_the_run_end_and_each_is_named(tmp_path):
    prepare(tmp_path)
    with serve(answers) as one, serve(answers) as two, serve(answers) as three:
        one.always, two.always = refusal(401), refusal(402)
        three.always = refusal(404)
        more = [word for server in (two, three) for word in ("--base-url", server.url)]
        code, printed, _ = run_in(tmp_path, one, "out", *more)
    error = printed.replace(two.url, "TWO").replace(three.url, "THREE").partition("Error: ")[2]
    assert code == 1
    assert error.startswith(
        "None of the 3 servers can be used:\n"
        "  URL refused the API key in OPENAI_API_KEY: No.\n"
        "  TWO answers no more, the account is used up: No.\n"
        "  THREE has no model 'tiny': No.\n"
    )
    cure = error.partition("What to do: ")[2]
    for words in ("--api-key-env", "Top it up", "--model"):
        assert words in cure


def test_a_bad_one_and_one_that_is_not_there_end_the_run_fast(tmp_path):
    prepare(tmp_path)
    with serve(answers) as gone:
        pass
    with serve(answers) as bad:
        bad.always = refusal(401)
        code, printed, _ = run_in(tmp_path, bad, "out", "--base-url", gone.url)
    assert code == 1
    assert f"There is no server at {gone.url}" in printed.partition("Error: ")[2]
    assert "URL refused the API key" in printed.partition("Error: ")[2]


def test_azures_addresses_get_their_query_and_their_key(tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "azure-key")
    with serve(answers) as server:
        server.root = "/openai/deployments/gpt"
        address = f"{server.url}?api-version=2024-10-21"
        code, printed = run_at(tmp_path, address, "out")
    assert code == 0, printed
    assert set(server.queries) == {"api-version=2024-10-21"}
    assert {one["api-key"] for one in server.headers} == {"azure-key"}
    assert {one["authorization"] for one in server.headers} == {"Bearer azure-key"}
    assert address in (tmp_path / "out" / "synth.yaml").read_text()


def test_other_servers_get_no_key_header_of_azure(tmp_path):
    prepare(tmp_path)
    with serve(answers) as server:
        run_in(tmp_path, server, "out")
    assert not [one for one in server.headers if "api-key" in one]


def test_a_key_in_an_address_goes_with_each_request_and_is_never_shown(tmp_path):
    prepare(tmp_path)
    with serve(answers) as server:
        server.failures = [refusal(503)] * 2
        login = server.url.replace("://", "://joe:s3cret@")
        address = f"{login}?subscription-key=k3y&api-version=v1"
        code, printed = run_at(tmp_path, address, "out")
        server.root = "/elsewhere"
        lost, said = run_at(tmp_path, address, "lost")
    assert (code, lost) == (0, 1)
    assert "subscription-key=k3y&api-version=v1" in server.queries
    assert "api-version=v1" in printed
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for secret in ("s3cret", "k3y"):
        assert secret not in printed + said
        assert not [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("url", ["ftp://joe:s3cret@host/v1?key=k3y", "http://joe:s3cret@[?key=k3y"])
def test_nor_is_it_shown_of_an_address_that_is_none(tmp_path, url):
    words = ["preview", str(write_task(tmp_path / "t")), "--model", "tiny", "--base-url", url]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "is not the URL of a server" in result.output
    assert "s3cret" not in result.output
    assert "k3y" not in result.output


@pytest.mark.parametrize(
    ("url", "shown", "base", "query"),
    [
        ("http://h:1/v1", "http://h:1/v1", "http://h:1/v1", {}),
        ("http://u:p@h/v1?key=k#f", "http://h/v1", "http://u:p@h/v1", {"key": "k"}),
        ("https://h/d/x?api-version=2024-10-21&k=a%20b", "https://h/d/x?api-version=2024-10-21",
         "https://h/d/x", {"api-version": "2024-10-21", "k": "a b"}),
    ],
)  # fmt: skip
def test_an_address_is_taken_apart(url, shown, base, query):
    assert without_login(url) == shown
    assert split_query(url) == (base, query)
