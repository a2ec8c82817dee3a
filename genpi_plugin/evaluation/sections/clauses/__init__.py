"""Which rules went in: the prompt clause by clause. docs/clauses.md tells the method."""

from genpi_plugin.evaluation.sections.clauses.measure import measure_clauses
from genpi_plugin.evaluation.sections.clauses.summary import summarize_clauses

__all__ = ["measure_clauses", "summarize_clauses"]
