"""Fixtures of the report's tests."""

from __future__ import annotations

import pytest

from genpi_plugin.evaluation.html.page import render
from tests.genpi_plugin.evaluation.report_made import (
    made_details,
    made_metrics,
)


@pytest.fixture(scope="module")
def page():
    return render(made_metrics(), made_details())
