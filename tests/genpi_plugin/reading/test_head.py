"""The output head, applied at chosen positions."""

from __future__ import annotations

import torch

from genpi_plugin.reading.head import SupervisedHead
from tests.tiny import make_model


def test_a_compiled_model_gives_the_positions_of_each_call():
    """A compiled forward knows no hook that came later, or is compiled anew for it."""
    model = make_model()
    head = SupervisedHead(model)
    compiled = torch.compile(model, backend="eager")
    ids = torch.arange(3, 15)[None]
    compiled(input_ids=ids, use_cache=False)
    for place in (2, 5):
        wanted = torch.zeros_like(ids, dtype=torch.bool)
        wanted[0, place] = True
        states = head.states(compiled, {"input_ids": ids, "use_cache": False}, wanted)
        right = model(input_ids=ids).logits[0, place]
        torch.testing.assert_close(head.logits(states)[0], right)
