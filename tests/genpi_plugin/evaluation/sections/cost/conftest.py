"""Fixtures of the tests on cost."""

from __future__ import annotations

import pytest

from genpi_plugin.data.chat import ChatView
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.evaluation.sections.cost.cost_made import (
    PROMPT,
    tiny_adapter,
)
from tests.tiny import make_tokenizer


@pytest.fixture(scope="module")
def subjects():
    """Teacher, floor and student of one tiny model with an adapter."""
    model, view = tiny_adapter(), ChatView(make_tokenizer())
    model.enable_input_require_grads()  # as axolotl loads it
    return (
        Subject("teacher", model, view, PROMPT),
        Subject("floor", model, view),
        Subject("student", model, view, adapter=True),
    )
