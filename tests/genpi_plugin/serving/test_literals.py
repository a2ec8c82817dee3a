"""Literals of Jinja."""

from __future__ import annotations

import jinja2.sandbox
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genpi_plugin.serving.literals import literal

ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\\'\"{}%#\n\r\tnxu0")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_a_literal_is_read_back_as_it_was(value):
    read = ENVIRONMENT.from_string(f"{{%- set x = {literal(value)} -%}}").make_module().x
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan")])
def test_what_is_no_json_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        literal(value)
