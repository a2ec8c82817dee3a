"""What a secret is, and that no text keeps one."""

import json
import logging

import pytest

from synth.errors import SynthError
from synth.secrets import KEY, REDACTED, RedactingFilter, Redactor, check_variable, names_secret
from synth.secrets import redactor as of_process

VALUE = "vAl-u3/with+'quotes\"&signs"


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "_x", "KEY2", "MY_LONG_COMPANY_NAME_S_KEY"])
def test_a_variable_s_name_is_taken(name):
    assert check_variable("--api-key-env", name) == name


@pytest.mark.parametrize(
    "value",
    [
        "sk-live-4f9a8b7c6d5e4f3a2b1c",
        "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
        "gsk_AbCdEfGhIjKlMnOpQrSt",
        "xai-AbCdEfGhIjKlMnOp",
        "AIzaSyA1234567890abcdefghij",
        "aB3dE5fG7hI9jK1lM3nO",
        "deadbeefdeadbeefdeadbeefdeadbeef",
        "two words",
        "1ST_KEY",
        "",
    ],
)
def test_a_key_in_place_of_its_variable_is_refused_and_not_repeated(value):
    with pytest.raises(SynthError) as error:
        check_variable("--api-key-env", value)
    assert "--api-key-env" in error.value.cause
    assert not value or value not in str(error.value)


def test_a_variable_that_is_set_is_one_whatever_it_looks_like(monkeypatch):
    monkeypatch.setenv("hf_AbCdEfGhIjKlMnOpQrStUvWxYz", "x")
    assert check_variable("--api-key-env", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz")


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "apiKey",
        "X-Auth-Token",
        "Authorization",
        "password",
        "client_secret",
        "Ocp-Apim-Subscription-Key",
        "APIKEY",
    ],
)
def test_these_names_are_secrets(name):
    assert names_secret(name)


@pytest.mark.parametrize("name", ["max_tokens", "eos_token", "stop_token_ids", "tokenizer", "model",
                                  "prompt_cache_key", "monkey", "keyword"])  # fmt: skip
def test_these_names_are_none(name):
    assert not names_secret(name)


def test_a_known_value_goes_in_every_form_that_files_write_it_in():
    import html
    from urllib.parse import quote

    import yaml

    redactor = Redactor()
    redactor.register(VALUE, "the value of A_KEY")
    for text in (VALUE, json.dumps({"a": VALUE}), html.escape(VALUE), quote(VALUE, safe=""),
                 yaml.safe_dump({"a": VALUE})):  # fmt: skip
        cleared = redactor.redact(f"before {text} after")
        assert "vAl-u3" not in cleared
        assert REDACTED in cleared
        assert cleared.startswith("before ")
        assert cleared.endswith(" after")
    assert redactor.known_in(f"x{VALUE}x") == "the value of A_KEY"
    assert not redactor.known_in("nothing")


def test_the_key_behind_bearer_is_known_too():
    redactor = Redactor()
    redactor.register_arguments({"headers": {"Authorization": "Bearer abc-def-ghi"}})
    assert redactor.redact("refused: abc-def-ghi") == f"refused: {REDACTED}"
    assert "Bearer" in redactor.redact("Bearer is a scheme")


@pytest.mark.parametrize("value", ["", "none", "EMPTY", "ollama", "abc"])
def test_what_stands_in_a_text_by_chance_is_no_secret(value):
    redactor = Redactor()
    redactor.register(value)
    assert redactor.redact("none is EMPTY, ollama, abc") == "none is EMPTY, ollama, abc"


def test_arguments_lose_secrets_by_name_and_keep_the_rest():
    arguments = {
        "api_key": "abc",
        "max_tokens": 7,
        "stop": ["x"],
        "nested": [{"password": "x", "top_p": 0.5}],
        "headers": {"Authorization": "B y"},
    }
    assert Redactor().arguments(arguments) == {
        "api_key": REDACTED, "max_tokens": 7, "stop": ["x"],
        "nested": [{"password": REDACTED, "top_p": 0.5}], "headers": {"Authorization": REDACTED},
    }  # fmt: skip
    same = json.dumps({"a": {"b": 1}}, indent=3)
    assert Redactor().arguments({"request_args": same}) == {"request_args": same}
    assert json.loads(Redactor().arguments(json.dumps(arguments)))["api_key"] == REDACTED


def test_a_command_loses_logins_queries_keys_and_named_arguments():
    redactor = Redactor()
    url = "https://me:pass-word@host/v1?api-version=2024-02-01&api-key=geheim"
    line = redactor.command(
        ["run", "t", "--base-url", url, f"--base-url={url}", "--request-args",
         '{"api_key": "abc", "top_k": 3}', "--set", "a=sk-live-0123456789abcdef"]
    )  # fmt: skip
    for secret in ("pass-word", "geheim", "abc", "sk-live"):
        assert secret not in line
    assert line.count("https://host/v1?api-version=2024-02-01") == 2
    assert '"top_k": 3' in line


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn",
        "task-1234567890abcdefgh",
        "sk-learn-pipeline-of-mine",
        "hf_hub",
        "a risk-based-assessment-2024-of",
    ],
)
def test_ordinary_words_are_no_keys(text):
    assert not KEY.search(text)


def test_the_log_holds_neither_secrets_nor_control_characters():
    of_process.register("a-log-secret")
    record = logging.LogRecord(
        "synth", logging.INFO, "f", 1, "%s failed: \x1b[2J%s", ("x", "a-log-secret"), None
    )
    assert RedactingFilter().filter(record)
    assert record.getMessage() == f"x failed: \\x1b[2J{REDACTED}"
