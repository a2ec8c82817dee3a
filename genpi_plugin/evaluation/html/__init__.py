"""The report as one HTML file: a pure function of `metrics.json` and `details.json`."""

from .page import write_html
from .verdict import verdict

__all__ = ["verdict", "write_html"]
