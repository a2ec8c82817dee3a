"""The output head, applied at chosen positions."""

from __future__ import annotations

import torch

from genpi_plugin.reading.generation import sampled
from genpi_plugin.reading.head import SupervisedHead, take_states_whole
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


def heads_inputs(model):
    """Grows by whether what the output head gets is in one piece, call by call."""
    found = []
    model.get_output_embeddings().register_forward_hook(
        lambda _, args, __: found.append(args[0].is_contiguous())
    )
    return found


def test_the_head_gets_the_last_states_in_one_piece_while_answers_are_written():
    model, requests = make_model(), [[5, 6, 7], [9, 8, 7, 6], [4, 3]]
    sampled(model, requests, "abc", 3, [0], 0)  # after the trials of what the model can do
    given = heads_inputs(model)
    sampled(model, requests, "abc", 3, [0], 0)
    assert len(given) >= 3
    assert all(given)
    ids = torch.tensor(requests[:1] * 2)
    model(input_ids=ids, logits_to_keep=1)
    assert not given[-1]  # cut out by the model, and nothing of ours is left there


def test_taken_whole_states_give_the_same_logits_until_undone():
    model = make_model()
    ids = torch.arange(3, 15).view(3, 4)
    plain = model(input_ids=ids, logits_to_keep=1).logits
    given = heads_inputs(model)
    undo = take_states_whole(model)
    torch.testing.assert_close(model(input_ids=ids, logits_to_keep=1).logits, plain)
    undo()
    model(input_ids=ids, logits_to_keep=1)
    assert given == [True, False]


def test_a_model_that_names_no_head_is_left_as_it_is(monkeypatch):
    model = make_model()
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    undo = take_states_whole(model)
    assert not any(module._forward_pre_hooks for module in model.modules())
    undo()
