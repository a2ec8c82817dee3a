"""A system's answers and distributions, with a cached prompt, against plain calls of the model."""

from __future__ import annotations

import pytest
import torch

from genpi_plugin.data.chat import ChatView
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.reading import logprobs
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.evaluation.subjects_made import INPUTS
from tests.genpi_plugin.reading.families import runnable, tiny_model
from tests.tiny import make_tokenizer


def test_batched_answers_with_a_cached_prompt_are_those_of_one_at_a_time(subjects):
    teacher = subjects[0]
    requests = teacher.requests(INPUTS)
    made = teacher.generate(requests, 12)
    for request, generated in zip(requests, made, strict=True):
        ids = torch.tensor([request])
        plain = teacher.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
            eos_token_id=teacher.end_ids, pad_token_id=0,
        )  # fmt: skip
        assert generated.ids == plain[0, ids.shape[1] :].tolist()


def test_logprobs_with_a_cached_prompt_are_those_of_a_plain_forward(subjects):
    teacher = subjects[0]
    requests = teacher.requests(INPUTS)
    answers = [list(range(20, 20 + 3 + i)) for i in range(len(INPUTS))]
    seen = set()
    for batch, found in logprobs(teacher, requests, answers):
        for index, followed in zip(batch, found, strict=True):
            ids = torch.tensor([requests[index] + answers[index]])
            with torch.no_grad():
                logits = teacher.model(ids, use_cache=False).logits[0]
            start = len(requests[index]) - 1
            plain = logits[start : start + len(answers[index])].log_softmax(-1)
            torch.testing.assert_close(followed, plain, rtol=1e-4, atol=1e-4)
            seen.add(index)
    assert seen == set(range(len(INPUTS)))


@pytest.mark.parametrize("family", ["mistral", "gemma2", "phi3, longrope", "qwen3_5_text"])
def test_answers_and_distributions_do_not_depend_on_the_batch(family):
    """Windows shorter than the rows, rows on both sides of a rope switch, recurrent layers."""
    model = runnable(tiny_model(family), family)
    view = ChatView(make_tokenizer())
    start = [3 + i * 13 % 400 for i in range(44)]
    requests = [[*start, *range(20 + n, 20 + 2 * n)] for n in (3, 12, 5)]
    answers = [[30, 31, 32], [40, 41], [50, 51, 52, 53]]
    made, read = [], []
    for size in (1, 3):
        subject = Subject("teacher", model, view, batch_size=size)
        made.append([one.ids for one in subject.generate(requests, 6)])
        found = {}
        for batch, logs in logprobs(subject, requests, answers):
            found |= dict(zip(batch, logs, strict=True))
        read.append(torch.cat([found[i] for i in range(3)]))
    assert made[0] == made[1]
    torch.testing.assert_close(read[0], read[1], rtol=1e-4, atol=1e-4)
    plain = [
        model(torch.tensor([r + a])).logits[0, len(r) - 1 : -1].log_softmax(-1)
        for r, a in zip(requests, answers, strict=True)
    ]
    torch.testing.assert_close(read[1], torch.cat(plain).detach(), rtol=1e-4, atol=1e-4)


def test_a_request_longer_than_the_model_reads_is_named(subjects, monkeypatch):
    """A table of positions would end there, in a traceback."""
    teacher = subjects[0]
    monkeypatch.setattr(teacher.model.config, "max_position_embeddings", 4)
    with pytest.raises(GenPIError, match=r"`teacher` has \d+ tokens, but the model reads 4"):
        teacher.generate(teacher.requests(["a red shirt"]), 2)
