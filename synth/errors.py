"""What can go wrong, in words a user can act on.

Every error says what happened and what to do. The command line prints both without a
traceback; a program can catch the class.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from genpi_plugin.errors import GenPIError


class SynthError(GenPIError):
    """The run can't go on. `cure` is what the user should do.

    `stage` is the stage of the row that met it, where one did; `exit_code` is the command line's.
    """

    stage: str = ""
    exit_code = 1

    def __init__(self, cause: str, cure: str = "") -> None:
        super().__init__(cause, cure)
        self.args = (f"{cause}\n{cure}".strip(),)


class TaskError(SynthError):
    """The task folder or one of its fields is not as it must be."""


class TooFewInputs(SynthError):
    """The generator's tries gave fewer inputs than are wanted."""


class LimitReached(SynthError):
    """The run has taken what it may: nothing more is asked, and what was under way is stored."""

    exit_code = 4


class EngineError(SynthError):
    """The model or its server can't answer any request."""


class RequestError(EngineError):
    """One request was not answered, and others may be: its row waits for the next run."""


class RowError(SynthError):
    """One row can't be finished; the run goes on without it.

    Attributes:
        reason: what is counted.
        detail: what was the matter with this row.
        made: what its stage had made of it, by field of the row.
        filter: the filter that rejected it; "" where it was no filter.
    """

    filter: str = ""

    def __init__(
        self, reason: str, detail: str = "", made: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.made = dict(made or {})


@contextlib.contextmanager
def plugin_errors() -> Iterator[None]:
    """Raise what the plugin's rooms say of a user's mistake as an error of this package."""
    try:
        yield
    except SynthError:
        raise
    except GenPIError as error:
        raise SynthError(error.cause, error.cure) from None


class ReasonError(RowError):
    """A filter rejects a row's floor output or reason: the row stays, without both."""
