"""The tests' tree mirrors the code's: a room here for each room there."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
