"""A system's answers and distributions, with a cached prompt, against plain calls of the model."""

from __future__ import annotations

import torch

from genpi_plugin.evaluation.subjects.reading import logprobs
from tests.genpi_plugin.evaluation.subjects_made import INPUTS


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
