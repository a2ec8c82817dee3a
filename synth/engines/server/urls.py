"""Addresses of servers: checked, taken apart, and without what may be secret."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from synth.errors import SynthError

# What of a URL's query is shown: it names a version and is no secret.
SHOWN = ("api-version",)


def checked(url: str) -> str:
    """The URL.

    Raises:
        SynthError: it is none of a server.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        fine = False
    if not fine:
        raise SynthError(
            f"--base-url {without_login(url)} is not the URL of a server.",
            "For example http://localhost:8000/v1.",
        )
    return url


def without_login(url: str) -> str:
    """The URL without user, password and query, which may hold a key; `api-version` is kept."""
    try:
        parts = urlsplit(url)
    except ValueError:  # as far as can be told of what is no URL
        begin, slashes, rest = url.partition("//")
        return begin + slashes + rest.partition("?")[0].rpartition("@")[2]
    shown = urlencode([(name, value) for name, value in _query(url) if name.lower() in SHOWN])
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, shown, ""))


def split_query(url: str) -> tuple[str, dict[str, str]]:
    """The URL up to its query, and the query's names and values, which go with each request."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), dict(_query(url))


def is_azure(query: dict[str, str]) -> bool:
    """Whether a query is that of Azure's addresses, which want their key as `api-key`."""
    return any(name.lower() == "api-version" for name in query)


def _query(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)
