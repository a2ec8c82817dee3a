"""A user's mistakes are reported before the model loads."""

from __future__ import annotations

import pytest

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.gate import parse_requirement
from genpi_plugin.evaluation.run import evaluate
from tests.genpi_plugin.evaluation.run_made import settings


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adapters": ["nowhere"]}, "holds no adapter"),
        ({"adapters": ["adapters/other"]}, "is an adapter of large, but this evaluation is of"),
        ({"adapters": ["adapters/a", "./adapters/a"]}, "the name of another system"),
        ({"also_prompts": ["none.md"]}, "There is no prompt file none.md"),
        ({"also_prompts": ["data"]}, "can't be read"),
        ({"requirements": (parse_requirement("students.a.internalization>=0"),)}, "no figure"),
    ],
)
def test_a_mistake_is_said_before_the_model_loads(place, no_model, changes, says):
    no_model()
    with pytest.raises(GenPIError, match=says):
        evaluate(settings(**changes))
