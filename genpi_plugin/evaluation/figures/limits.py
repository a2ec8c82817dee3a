"""Limits from which a figure is called good or bad, each compared with an interval's end."""

from __future__ import annotations

# Lower end of internalization from which it is called nearly all, most, or part of the effect.
NEARLY_ALL, MOST, PART = 0.9, 0.7, 0.3
# By so much is the upper end along the student's own answers below the lower end of
# internalization, where it is called less.
LESS_ON_OWN_PATH = 0.1
# Retention of a task score: kept from this lower end on, lost below this upper end.
KEPT, LOST = 0.95, 0.8
# A clause is not in the adapter when the upper end of its internalized share is below this, and
# is in it when the lower end is not.
CLAUSE_MISSING = 0.5
# On inputs that the prompt is not about: share of answers in the prompt's format (lower end), and
# KL(floor||student) in nats per token (lower end: too much; upper end: little).
MUCH_OVER_REACH, MUCH_KL = 0.05, 0.1
# Share of clauses disclosed: mean over attacks (ends), and to at least one attack.
DISCLOSED, HIDDEN, DISCLOSED_BY_ANY = 0.1, 0.05, 0.5
# With fewer inputs than this a bootstrap over them says little.
FEW_INPUTS = 20
