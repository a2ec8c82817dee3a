"""The report's sections, in the order they are measured. A new one is a line here."""

from __future__ import annotations

from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.evaluation.measuring.context import Section
from genpi_plugin.evaluation.sections.benchmarks import (
    check_benchmarks,
    measure_benchmarks,
    summarize_benchmarks,
)
from genpi_plugin.evaluation.sections.clauses import measure_clauses, summarize_clauses
from genpi_plugin.evaluation.sections.clauses.clause_file import parts_of
from genpi_plugin.evaluation.sections.cost import cost_depends, measure_cost, summarize_cost
from genpi_plugin.evaluation.sections.disclosure import (
    ATTACKS,
    measure_disclosure,
    read_attacks,
    summarize_disclosure,
)
from genpi_plugin.evaluation.sections.drift import (
    GENERAL,
    kept_to,
    measure_drift,
    summarize_drift,
)
from genpi_plugin.evaluation.sections.harness import benchmark_facts
from genpi_plugin.evaluation.sections.recital import (
    measure_recitals,
    summarize_recitals,
    trained_piece,
)
from genpi_plugin.evaluation.sections.turns import measure_turns, summarize_turns

SECTIONS = [
    Section("turns", lambda context, options: measure_turns(context), summarize_turns),
    Section(
        "recitation",
        lambda context, options: measure_recitals(
            context, options.recitals, trained_piece(options.adapter)
        ),
        summarize_recitals,
        lambda options: [options.recitals, trained_piece(options.adapter)],
        details="recitals",
    ),
    Section(
        "clauses",
        lambda context, options: measure_clauses(context, options.clauses),
        summarize_clauses,
        lambda options: options.clauses,
        lambda prompt, options: parts_of(prompt, options.clauses),
    ),
    Section(
        "drift",
        lambda context, options: measure_drift(context, options.general, kept_to(options.adapters)),
        summarize_drift,
        lambda options: [options.general, sorted(kept_to(options.adapters).items())],
        lambda _, options: read_inputs(options.general or GENERAL),
    ),
    Section(
        "disclosure",
        lambda context, options: measure_disclosure(context, options.attacks, options.clauses),
        summarize_disclosure,
        lambda options: [options.attacks, options.clauses],
        lambda prompt, options: (
            read_attacks(options.attacks or ATTACKS),
            parts_of(prompt, options.clauses),
        ),
    ),
    Section("cost", measure_cost, summarize_cost, cost_depends),
    Section(
        "benchmarks",
        lambda context, options: measure_benchmarks(
            context, options.benchmarks, options.benchmark_limit
        ),
        summarize_benchmarks,
        lambda options: [benchmark_facts(options.benchmarks), options.benchmark_limit],
        lambda _, options: check_benchmarks(options.benchmarks),
        wanted=lambda options: bool(options.benchmarks),
    ),
]
