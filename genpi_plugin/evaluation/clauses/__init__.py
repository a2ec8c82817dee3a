"""Which rules went in: the prompt clause by clause. docs/clauses.md tells the method."""

from .measure import measure_clauses
from .summary import summarize_clauses

__all__ = ["measure_clauses", "summarize_clauses"]
