"""Secrets that a run is given, and how they are kept out of everything it writes and shows.

Keys come from environment variables, from arguments of requests and engines, and from addresses.
Who reads one registers it here; files, logs and errors go through `redact` on their way out.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from synth.errors import SynthError
from synth.text import visible

REDACTED = "[redacted]"
# A shorter value, or what servers without keys are given, stands in many a text by chance.
SHORTEST = 6
PLACEHOLDERS = {
    "dummy", "dummy-key", "empty", "fake", "lm-studio", "local", "no-key", "not-needed", "none",
    "null", "ollama", "placeholder", "sk-no-key-required", "test", "unused",
}  # fmt: skip
# What no text holds by chance: keys of OpenAI and its like, Hugging Face, Groq, xAI, Google,
# GitHub, AWS, and a private key's first line.
KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"sk-(?:live|test|proj|ant|or|svcacct|admin)-[A-Za-z0-9_-]{6,}"
    r"|sk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16,}"
    r"|hf_[A-Za-z0-9]{20,}|gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}|AIza[A-Za-z0-9_-]{30,}"
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|AKIA[A-Z0-9]{16}"
    r")(?![A-Za-z0-9])|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# How a name that is a key begins, and one that is long and mixed as no name is.
KEY_START = re.compile(r"(sk|pk|xai)[-_]|(hf|gsk|gh[pousr])_[A-Za-z0-9]{12}|AIza|eyJ|AKIA")
RANDOM = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)\w{20,}|[0-9a-f]{32,}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
SECRET_WORDS = {
    "apikey", "auth", "authorization", "bearer", "cookie", "credential", "credentials", "key",
    "keys", "passphrase", "passwd", "password", "secret", "secrets", "sig", "signature", "token",
}  # fmt: skip
# `eos_token`, `prompt_cache_key`: of a tokenizer or a cache, and no secret.
OF_TEXT = {
    "bos", "cache", "cls", "end", "eos", "image", "mask", "pad", "sep", "special", "stop", "unk",
}  # fmt: skip


def names_secret(name: str) -> bool:
    """Whether what goes by this name is a secret: `api_key`, `X-Auth-Token`, `clientSecret`."""
    words = [word.lower() for word in WORDS.findall(name)]
    found = SECRET_WORDS & set(words)
    if "token" in found and words[-1] != "token":  # `stop_token_ids`
        found.remove("token")
    return bool(found) and not OF_TEXT & set(words)


def check_variable(option: str, name: str) -> str:
    """Check that an option names an environment variable, and does not hold the secret itself.

    Args:
        option: for the message (`--api-key-env`).
        name: what was given.

    Returns:
        The name.

    Raises:
        SynthError: it is not the name of a variable, or looks like a key. The message does not
            repeat it.
    """
    plain = VARIABLE.fullmatch(name) is not None
    if plain and (name in os.environ or not (KEY_START.match(name) or RANDOM.fullmatch(name))):
        return name
    what = "looks like a key" if KEY_START.match(name) or plain else "is not the name of a variable"
    raise SynthError(
        f"{option} takes the name of an environment variable; what was given ({len(name)} "
        f"characters, not repeated here) {what}.",
        f"Put the key into a variable (export OPENAI_API_KEY=...) and name that: {option} "
        "OPENAI_API_KEY. A key that was typed into a command is in the shell's history.",
    )


class Redactor:
    """Knows the secrets that were read, and takes them out of texts.

    A secret is registered by its value; afterwards `redact` replaces the value wherever it
    stands, also as JSON, HTML and addresses write it. What is known by its name alone
    (`{"api_key": ...}`) is replaced by `arguments`, however short it is.
    """

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: str, source: str = "a secret") -> None:
        """Know a secret from now on.

        Args:
            value: the secret. Of "Bearer abc" the second word is one, too.
            source: what to call it (`the value of OPENAI_API_KEY`).
        """
        for part in {value, value.strip(), value.strip().rpartition(" ")[2]}:
            if len(part) >= SHORTEST and part.lower() not in PLACEHOLDERS:
                for form in _forms(part):
                    self._sources.setdefault(form, source)
        longest_first = sorted(self._sources, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        )

    def register_variable(self, name: str) -> None:
        """Know the value of an environment variable, if it is set."""
        self.register(os.environ.get(name, ""), f"the value of {name}")

    def register_arguments(self, arguments: Any) -> None:
        """Know the texts that stand under a secret's name in (nested) arguments."""
        for name, text in _secret_texts(arguments):
            self.register(text, f"the argument {name}")

    def register_url(self, url: str) -> None:
        """Know user, password and secret fields of an address."""
        try:
            parts = urlsplit(url)
        except ValueError:  # none of a server, as whoever checks it will say
            return
        login = parts.netloc.rpartition("@")[0]
        user, _, password = login.partition(":")
        secrets = [password or user, login if password else ""]
        secrets += [value for name, value in parse_qsl(parts.query) if names_secret(name)]
        for secret in secrets:
            self.register(secret, "a secret in an address")
            self.register(unquote(secret), "a secret in an address")

    def register_environment(self) -> None:
        """Know the values of all environment variables whose names say that they are secrets."""
        for name in os.environ:
            if names_secret(name):
                self.register_variable(name)

    def known_in(self, text: str) -> str:
        """What a known secret in the text is called; "" if there is none."""
        found = self._pattern.search(text) if self._pattern else None
        return self._sources[found[0]] if found else ""

    def hide(self, text: str) -> str:
        """The text without the secrets that are known."""
        return self._pattern.sub(REDACTED, text) if self._pattern else text

    def redact(self, text: str) -> str:
        """The text without known secrets, and without what looks like a key."""
        return KEY.sub(REDACTED, self.hide(text))

    def arguments(self, value: Any) -> Any:
        """Nested arguments without what stands under a secret's name, and `redact`ed otherwise.

        A text that is itself a JSON object is treated as one.
        """
        if isinstance(value, Mapping):
            return {
                name: REDACTED
                if names_secret(str(name)) and _some(inner)
                else self.arguments(inner)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.arguments(inner) for inner in value]
        if not isinstance(value, str):
            return value
        inside = _json_object(value)
        if inside is not None and (cleared := self.arguments(inside)) != inside:
            return json.dumps(cleared, ensure_ascii=False)
        return self.redact(value)

    def texts(self, value: Any) -> Any:
        """Nested values, each text `redact`ed; names say nothing (`api_key_env` is no secret)."""
        if isinstance(value, Mapping):
            return {name: self.texts(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.texts(inner) for inner in value]
        return self.redact(value) if isinstance(value, str) else value

    def command(self, words: Sequence[str]) -> str:
        """The words of a command as one line for a shell, without secrets."""
        return shlex.join(str(self.arguments(_without_url_secrets(word))) for word in words)


class RedactingFilter(logging.Filter):
    """Takes secrets out of what is logged, and makes control characters visible."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the record's message; every record passes."""
        record.msg, record.args = visible(redactor.redact(record.getMessage())), ()
        return True


def _without_url_secrets(word: str) -> str:
    """An address without user, password and the secret fields of its query; others as they are."""
    option, equals, url = word.partition("=") if word.startswith("--") else ("", "", word)
    if not url.startswith(("http://", "https://")):
        return word
    try:
        parts = urlsplit(url)
        fields = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return word
    if any(names_secret(name) for name, _ in fields):
        shown = [(name, REDACTED if names_secret(name) else value) for name, value in fields]
        parts = parts._replace(query=urlencode(shown, safe="[]"))
    return option + equals + urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _some(value: Any) -> bool:
    """Whether a value under a secret's name may be one: a text, or what holds texts."""
    return isinstance(value, str | Mapping | list | tuple) and bool(value)


def _json_object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _secret_texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The texts in nested arguments that stand under a secret's name, with the name."""
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        inner = [(str(key), one) for key, one in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(name, one) for one in value]
    elif isinstance(value, str) and name:
        yield name, value
    for key, one in inner:
        yield from _secret_texts(one, name or (key if names_secret(key) else ""))


def _forms(value: str) -> set[str]:
    """The value as texts, JSON, HTML and addresses write it."""
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        html.escape(value),
        quote(value, safe=""),
        value.replace("'", "''"),  # YAML's single quotes
    }


redactor = Redactor()  # the process's, as its log is: a secret is one for whatever runs in it
