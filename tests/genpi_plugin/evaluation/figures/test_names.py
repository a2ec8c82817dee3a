"""Names of systems."""

from __future__ import annotations

import pytest

from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.names import unique_names


def test_names_are_fit_for_a_requirement_and_of_one_system_each():
    assert unique_names(["a b", "c.d"], ["1", "2"], []) == ["a_b", "c_d"]
    with pytest.raises(GenPIError, match="the name of another system"):
        unique_names(["floor"], ["x/floor"], ["teacher", "floor"])
