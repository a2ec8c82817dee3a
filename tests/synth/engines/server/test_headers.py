"""Headers from the environment: sent, named in synth.yaml, their values written nowhere."""

import pytest

from synth.engines.server.headers import header_values, parse_header_env
from synth.errors import EngineError, SynthError
from tests.synth.cli.commands_run import synth
from tests.synth.scripted import answers, write_task
from tests.synth.server import serve

SECRET = "org-5ecret-value"


def test_a_header_goes_with_each_request_to_its_own_server(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_ORG", SECRET)
    monkeypatch.setenv("OTHER_ORG", "other-5ecret")
    task, out = write_task(tmp_path / "t"), tmp_path / "out"
    with serve(answers, None) as target, serve(answers, None) as generator:
        arguments = ("run", task, "-o", out, "--model", "m", "--base-url", target.url,
                     "--header-env", "X-Org=MY_ORG",
                     "--generator-base-url", generator.url)  # fmt: skip
        code, printed = synth(*arguments)
        assert code == 0, printed
        assert {headers["x-org"] for headers in target.headers} == {SECRET}
        assert not [headers for headers in generator.headers if "x-org" in headers]
        out = tmp_path / "other"
        code, printed = synth(*arguments[:3], out, *arguments[4:],
                              "--generator-header-env", "X-Org=OTHER_ORG")  # fmt: skip
        assert code == 0, printed
        assert {headers.get("x-org") for headers in generator.headers} == {None, "other-5ecret"}
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert "X-Org: MY_ORG" in (out / "synth.yaml").read_text()


def test_one_server_for_both_gets_the_header_from_both(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_ORG", SECRET)
    with serve(answers, None) as server:
        code, printed = synth(
            "preview", write_task(tmp_path / "t"), "--model", "m", "--base-url", server.url,
            "--generator-model", "large", "--header-env", "X-Org=MY_ORG")  # fmt: skip
        assert code == 0, printed
        assert {body["model"] for body in server.requests} == {"m", "large"}
        assert {headers["x-org"] for headers in server.headers} == {SECRET}


@pytest.mark.parametrize("given", ["X-Org", "=MY_ORG", "X Org=MY_ORG", "X-Org:=A"])
def test_what_is_no_header_is_refused(given):
    with pytest.raises(SynthError) as caught:
        parse_header_env("--header-env", [given])
    assert "--header-env takes NAME=VARIABLE" in caught.value.cause


def test_a_value_in_the_place_of_the_variable_is_refused_and_not_shown():
    with pytest.raises(SynthError) as caught:
        parse_header_env("--header-env", ["X-Key=sk-live-5ecret"])
    assert "takes the name of an environment variable" in caught.value.cause
    assert "5ecret" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "a\nb", "ü"])
def test_a_variable_without_a_fitting_value_is_named(monkeypatch, value):
    monkeypatch.setenv("MY_ORG", value)
    with pytest.raises(EngineError) as caught:
        header_values({"X-Org": "MY_ORG"})
    assert "X-Org" in caught.value.cause
    assert "MY_ORG" in caught.value.cause
