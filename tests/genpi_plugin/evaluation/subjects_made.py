"""Floor, teacher and student of a tiny model without an adapter."""

from __future__ import annotations

from genpi_plugin.data.chat import ChatView
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.tiny import make_model, make_tokenizer

PROMPT = [{"role": "system", "content": "You are a shop assistant. Answer with one action. " * 4}]
INPUTS = ["a red shirt", "I need a cotton shirt in size medium", "shirt", "results page, Buy Now"]


def make_subjects() -> tuple[Subject, Subject, Subject]:
    """Teacher and floor of one model, and a student that is the floor (no adapter at all)."""
    model, view = make_model(), ChatView(make_tokenizer())
    return (
        Subject("teacher", model, view, PROMPT, batch_size=3),
        Subject("floor", model, view, batch_size=3),
        Subject("student", model, view, adapter=True, batch_size=3),
    )
