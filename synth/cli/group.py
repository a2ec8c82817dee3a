"""The group of commands: what they share on the terminal, from errors to the log."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.logging import RichHandler
from rich.segment import Segment

from genpi_plugin.errors import GenPIError
from synth.errors import SynthError
from synth.secrets import RedactingFilter, redactor
from synth.text import visible

ARGUMENTS = "synth.arguments"


class Commands(click.Group):
    """A group that tells a user's mistake without a traceback."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:  # fmt: skip
        """Note the arguments as they were given: the card names the command."""
        given = list(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[ARGUMENTS] = given
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend is told as cause and cure, with its exit code."""
        try:
            return super().invoke(ctx)
        except GenPIError as error:
            print_error(error.cause, error.cure)
            return ctx.exit(error.exit_code if isinstance(error, SynthError) else 1)
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when nobody reads on
                raise
            print_error(f"{error}.", "Check the path, its permissions and the disk's space.")
        return ctx.exit(1)


def print_error(cause: str, cure: str) -> None:
    """Print what is wrong, and what to do, on standard error."""
    console = stderr()
    cause, cure = (visible(redactor.redact(text)) for text in (cause, cure))
    console.print(f"Error: {cause}", style="bold red", markup=False, highlight=False,
                  soft_wrap=True)  # fmt: skip
    if cure:
        console.print(f"What to do: {cure}", markup=False, highlight=False, soft_wrap=True)


def log_to(console: Console) -> None:
    """Show what synth logs on a console; errors are left to `Commands.invoke`."""
    logger = logging.getLogger("synth")
    logger.setLevel(logging.INFO)
    handler: logging.Handler
    if console.is_terminal:
        # Through rich, so that a line does not tear the live table.
        handler = RichHandler(console=console, show_path=False, show_level=False, markup=False)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(RedactingFilter())
    # What stops a run is told once, by `Commands.invoke`; run.log has it, too.
    handler.addFilter(lambda record: record.levelno < logging.ERROR)
    logger.handlers[:] = [handler]


@contextlib.contextmanager
def exit_on_interrupt(advice: str = "") -> Iterator[None]:
    """End with exit code 130 when Ctrl-C stops the body; `advice` says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(visible(f"\nInterrupted. {advice}".rstrip()), err=True)
        sys.exit(130)


class Terminal(Console):
    """A console that no text steers: control characters in what is printed are shown, not sent."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments to print, of which only rich's own control the terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def stdout() -> Console:
    """The console of results."""
    return Terminal()


def stderr() -> Console:
    """The console of progress, warnings and errors."""
    return Terminal(stderr=True)
