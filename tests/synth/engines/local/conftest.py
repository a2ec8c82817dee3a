"""A tiny model in a folder, for all tests of the in-process engine."""

from pathlib import Path

import pytest

from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")
