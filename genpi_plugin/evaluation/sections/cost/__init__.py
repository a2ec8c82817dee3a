"""What an internalized prompt saves: tokens, cache, FLOPs, time, and when that pays back."""

from genpi_plugin.evaluation.sections.cost.section import (
    Cost,
    cost_depends,
    measure_cost,
    summarize_cost,
    table_rows,
)

__all__ = ["Cost", "cost_depends", "measure_cost", "summarize_cost", "table_rows"]
