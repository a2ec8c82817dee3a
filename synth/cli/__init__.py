"""`python -m synth`: commands, their options, and what they print."""

from synth.cli.commands import main
from synth.cli.options import PROGRAM

__all__ = ["PROGRAM", "main"]
