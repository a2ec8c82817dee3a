"""The longest that a model must take, counted in words by hand."""

import asyncio

from genpi_plugin.args import GenPISettings
from genpi_plugin.data.prompt_generation import Recited, answer, question
from synth.engines.base import Message
from synth.preflight.measure import TRAINED_PIECE, _longest
from synth.stages.reasons import reason_messages
from synth.store.rows import Row
from tests.synth.scripted import make_task


class Words:
    """A scorer whose tokens are words."""

    async def tokens(self, request, answer=""):
        return sum(len(turn.content.split()) for turn in request.messages) + len(answer.split())


def test_a_recital_counts_with_the_piece_that_a_default_training_makes(tmp_path):
    assert GenPISettings.model_fields["prompt_generation_piece"].default == TRAINED_PIECE
    for words, reason in ((2000, 4000), (100, 4000), (2000, 10)):
        task = make_task(tmp_path / f"{words}-{reason}", "word " * words,
                         reasons={"max_tokens": 20})  # fmt: skip
        row = Row(0, "a", "p", (Message("system", "word " * words),), "hello you", "f f", "t t t",
                  "why " * reason)  # fmt: skip
        asked = sum(len(turn.content.split()) for turn in reason_messages(row, task)) + 20
        piece = "word " * min(words, TRAINED_PIECE)
        told = answer(Recited(piece), row.reason)
        half = f"{question('hello you', 'f f', 't t t')} {told}".split()
        found = asyncio.run(_longest(Words(), row, task))
        assert found == max(asked, len(half))
        assert (found == len(half)) is (reason == 4000)
