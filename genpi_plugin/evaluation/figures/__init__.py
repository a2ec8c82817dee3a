"""Figures from answers: scores, intervals, the summary. Pure functions, no model."""
