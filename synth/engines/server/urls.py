"""Addresses of servers: checked, and without what may be secret."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from synth.errors import SynthError


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
            f"--base-url {url} is not the URL of a server.", "For example http://localhost:8000/v1."
        )
    return url


def without_login(url: str) -> str:
    """The URL without user, password and query, which may hold a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
