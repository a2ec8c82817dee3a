"""A server that answers as a model would."""

import pytest

from tests.synth.cli.commands_run import answers
from tests.synth.server import serve


@pytest.fixture
def server():
    with serve(answers, models=None) as served:
        yield served
