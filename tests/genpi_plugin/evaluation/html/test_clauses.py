"""The teacher's answer, shaded by a clause's effect."""

from __future__ import annotations

from genpi_plugin.evaluation.html.clauses import shaded


def test_an_answer_is_shaded_by_what_the_clause_does_to_its_tokens():
    seen = {"inputs": ["x"], "answers": [["a", " b", " c", " d", "</s>"]],
            "clauses": [{"number": 7, "effect": [[0.0, 0.04, 0.3, 5.0, 0.0]]}]}  # fmt: skip
    found = [(heat.text, heat.shade) for heat in shaded(seen, 7, "x", "a b c d")]
    assert found == [("a b", 0), (" c", 2), (" d", 4), ("</s>", 0)]
    assert [heat.text for heat in shaded(seen, 7, "x", "another answer")] == ["another answer"]
    assert [heat.text for heat in shaded(seen, 8, "x", "a b c d")] == ["a b c d"]
