"""`--require`: which figures exist, and when a requirement is met."""

from __future__ import annotations

import pytest

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.gate import check_names, known_figures, parse_requirement, shortfalls

METRICS = {
    "internalization": {"value": 0.84, "ci_low": 0.82, "ci_high": 0.85},
    "retention": {"valid": {"value": 1.0, "ci_low": 0.9, "ci_high": 1.1},
                  "exact": {"value": None, "ci_low": None, "ci_high": None}},
    "systems": {"student": {"kl_to_teacher": {"value": 0.4, "ci_low": 0.3, "ci_high": 0.5}}},
    "recitation": {"chrf": {"value": 99.0, "ci_low": 98.0, "ci_high": 100.0}, "n": 3},
    "students": {"student": {"internalization": {"value": 0.84, "ci_low": 0.82, "ci_high": 0.85}}},
    "turns": [{"turn": 1, "internalization": {"value": 0.9, "ci_low": 0.8, "ci_high": 1.0}},
              {"turn": 2, "internalization": {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6}}],
    "drift": {"off_identical": True, "n": 20},
}  # fmt: skip


@pytest.mark.parametrize(
    ("required", "says"),
    [
        ("internalization>=0.8", None),
        ("internalization >= 0.83", "0.840 [0.820, 0.850]"),
        ("internalization<=0.85", None),
        ("internalization<=0.84", "0.840 [0.820, 0.850]"),
        ("valid.retention>=0.95", "1.000 [0.900, 1.100]"),
        ("valid.retention>=0.9", None),
        ("exact.retention>=0.1", "not defined"),
        ("kl_to_teacher<=0.5", None),
        ("recitation>=60", None),
        ("students.student.internalization>=0.83", "0.840 [0.820, 0.850]"),
        ("turns.1.internalization>=0.8", None),
        ("turns.2.internalization>=0.8", "0.500 [0.400, 0.600]"),
        ("turns.3.internalization>=0.8", "no such figure"),
        ("recitation.n>=3", None),
        ("drift.off_identical>=1", None),
        ("drift.n>=21", "20.000"),
    ],
)
def test_a_requirement_is_met_by_the_whole_interval(required, says):
    short = shortfalls([parse_requirement(required)], METRICS)
    assert bool(short) is (says is not None)
    if says:
        assert required in short[0]
        assert says in short[0]


@pytest.mark.parametrize("text", ["internalization", "internalization>0.8", ">=1", "a>=b"])
def test_a_requirement_that_cant_be_read_is_refused(text):
    with pytest.raises(GenPIError, match="can't be read"):
        parse_requirement(text)


def test_a_requirement_of_no_figure_is_refused_before_measuring():
    known = known_figures(["exact", "chrf"], ["a-b"], ["floor", "a-b"], ["turns"])
    for name in ("exact.retention", "students.a-b.internalization", "systems.floor.chrf",
                 "turns.2.internalization", "own_path", "students.a-b.own_path",
                 "systems.floor.kl_own_path_reverse",
                 "cost.request_tokens_with_prompt"):  # fmt: skip
        check_names([parse_requirement(f"{name}>=0.5")], known)
    for name in ("valid", "recitation", "internalisation", "students.c.internalization"):
        with pytest.raises(GenPIError, match=f"no figure `{name}`"):
            check_names([parse_requirement(f"{name}>=0.5")], known)
