"""Errors a user can act on, and their exit from axolotl's command line without a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class GenPIError(ValueError):
    """A user's input can't be used as it is. `cure` says what to do about it."""

    def __init__(self, cause: str, cure: str = "") -> None:
        super().__init__(f"{cause}\n  What to do: {cure}" if cure else cause)
        self.cause = cause
        self.cure = cure


class ConfigError(GenPIError):
    """The axolotl YAML: the `genpi:` block, or a setting that can't be combined with it."""


class RowError(GenPIError):
    """A dataset row that breaks contract 1, with the file, the row and the field."""


class TemplateError(GenPIError):
    """A chat template that can't give the student the request it will see at inference.

    `text` is the piece of a message that it is about, where it is about one.
    """

    def __init__(self, cause: str, cure: str = "", text: str = "") -> None:
        super().__init__(cause, cure)
        self.text = text


class TextError(TemplateError):
    """A message that no template could give to the model: it holds a control token, or
    characters that the tokenizer does not know; or tokens that are not those of their text.

    `reason` says which it is, in words to be counted.
    """

    def __init__(self, cause: str, cure: str = "", text: str = "", reason: str = "") -> None:
        super().__init__(cause, cure, text)
        self.reason = reason or "has other tokens than its text"


class SequenceLengthError(GenPIError):
    """Pairs that do not fit `sequence_len`."""


@contextlib.contextmanager
def plain_exit() -> Iterator[None]:
    """Turn a `GenPIError` into a message and exit status 1, for hooks that axolotl's CLI calls."""
    try:
        yield
    except GenPIError as error:
        raise SystemExit(f"\ngenpi: {error}\n") from error
