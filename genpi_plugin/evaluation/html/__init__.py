"""The report as one HTML file: a pure function of `metrics.json` and `details.json`."""

from genpi_plugin.evaluation.html.page import write_html
from genpi_plugin.evaluation.html.verdict import verdict

__all__ = ["verdict", "write_html"]
