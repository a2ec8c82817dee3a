"""What `synth preflight` measures on a model in this process."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from synth.engines.base import Message, Request, Sampling
from synth.engines.local.model import LocalModel
from synth.preflight.found import Scored
from synth.stages.reasons import reason_messages
from synth.store.rows import Row, as_dicts
from synth.task.taskfile import Task
from synth.task.templates import prompt_text, teacher_messages


def measure(local: LocalModel, rows: Sequence[Row], task: Task) -> Scored:
    """Divergence, both views of each answer, and the longest request of some rows."""
    nats, tokens, other, longest = 0.0, 0, "", 0
    for row in rows:
        question = (Message("user", row.input),)
        views = (teacher_messages(row.prompt, question), question)
        with_prompt, without = (_answer_ids(local, view, row.teacher_output) for view in views)
        if with_prompt != without and not other:
            other = repr(local.tokenizer.decode(with_prompt)[:80])
        requests = [_ids(local, view) for view in views]
        divergence = kl(local, requests[0], requests[1], with_prompt)
        nats += float(divergence.sum())
        tokens += len(with_prompt)
        asked = len(_ids(local, reason_messages(row, task))) + task.config.reasons.max_tokens
        longest = max(longest, asked, _recital(local, row))
    return Scored(nats / tokens, True, other, longest, local.context)


@torch.inference_mode()
def kl(local: LocalModel, teacher: list[int], floor: list[int], answer: list[int]) -> torch.Tensor:
    """KL(teacher‖floor) at each token of an answer, in nats, over the whole vocabulary.

    Args:
        local: the model.
        teacher: the request's token ids with the prompt.
        floor: the request's token ids without it.
        answer: the answer's token ids; not empty.
    """
    ahead = [_log_probs(local, request, answer) for request in (teacher, floor)]
    return (ahead[0].exp() * (ahead[0] - ahead[1])).sum(-1)


def _log_probs(local: LocalModel, request: list[int], answer: list[int]) -> torch.Tensor:
    ids = torch.tensor([[*request, *answer]], device=local.device)
    logits = local.model(input_ids=ids, use_cache=False, logits_to_keep=len(answer) + 1).logits
    return logits[0, :-1].float().log_softmax(-1)


def _ids(local: LocalModel, messages: tuple[Message, ...]) -> list[int]:
    return local.render(Request(messages, Sampling()))


def _answer_ids(local: LocalModel, messages: tuple[Message, ...], answer: str) -> list[int]:
    """The tokens of an answer after a request, with what ends its turn.

    At inference the request's tokens are fixed before the answer begins, so what the template
    writes after them is tokenized by itself.
    """
    before = _text(local, as_dicts(messages), True)
    whole = _text(local, [*as_dicts(messages), {"role": "assistant", "content": answer}], False)
    after = whole[len(before) :]
    if not whole.startswith(before):
        # Mistral's moves the system turn once there is an answer: go by the last user turn.
        tail = before[before.rfind(messages[-1].content.strip()) :]
        after = whole[whole.rfind(tail) + len(tail) :]
    ids = list(local.tokenizer(after, add_special_tokens=False)["input_ids"])
    ends = [place for place, token in enumerate(ids) if token in local.end_ids]
    return ids[: ends[0] + 1] if ends else ids


def _text(local: LocalModel, messages: list[dict[str, str]], prompted: bool) -> str:
    return local.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=prompted, **local.template_kwargs
    )


def _recital(local: LocalModel, row: Row) -> int:
    """Tokens of a prompt-generation half: it shows input and answers, and holds prompt and
    reason."""
    shown = "\n\n".join((row.input, row.floor_output, row.teacher_output))
    recited = f"{prompt_text(row.prompt)}\n\n{row.reason}"
    turns = (Message("user", shown),)
    return len(_ids(local, turns)) + len(_answer_ids(local, turns, recited))
