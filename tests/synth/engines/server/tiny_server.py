"""A loopback server that runs the tiny model itself, and tells of tokens as vLLM does.

It renders with transformers and decodes with `generate`: nothing of it is the package's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests.synth.engines.server.telling import told as told_likeliest
from tests.synth.server import Reply, ScriptedServer, serve
from tests.tiny import make_model


def tiny_answers(
    tokenizer: Any, form: str = "vllm", processed: bool = False, top_k: int = -1
) -> Callable[[dict[str, Any]], Reply]:
    """Greedy answers of the tiny model to requests' bodies.

    Args:
        tokenizer: the served one.
        form: of the likeliest tokens, see `telling.entry`.
        processed: whether their log-probabilities are those behind the request's temperature and
            `top_k`.
        top_k: of requests that name none.
    """
    model = make_model(len(tokenizer))

    def answer(body: dict[str, Any]) -> Reply:
        request = tokenizer.apply_chat_template(
            body["messages"],
            add_generation_prompt=True,
            return_dict=False,
            **({"tools": body["tools"]} if "tools" in body else {}),
            **body.get("chat_template_kwargs", {}),
        )
        with torch.inference_mode():
            out = model.generate(
                torch.tensor([request]),
                attention_mask=torch.ones(1, len(request), dtype=torch.long),
                max_new_tokens=body["max_tokens"],
                do_sample=False,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_logits=True,
            )
        ids = out.sequences[0, len(request) :].tolist()
        likeliest = {}
        if body.get("logprobs"):
            scores = torch.stack(out.logits)[:, 0] / ((processed and body["temperature"]) or 1.0)
            cut = body.get("top_k", top_k)
            if processed and cut > 0 and body["temperature"]:
                least = scores.topk(cut).values[:, -1:]
                scores = scores.masked_fill(scores < least, -float("inf"))
            best = scores.log_softmax(-1).topk(body["top_logprobs"])
            places = [
                list(zip(*place, strict=True))
                for place in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]
            likeliest = {"logprobs": told_likeliest(tokenizer, form, ids, places)}
        ended = ids[-1] == tokenizer.eos_token_id
        asked = body.get("return_token_ids")
        return Reply(
            tokenizer.decode(ids[:-1] if ended else ids),
            "stop" if ended else "length",
            choice={**({"token_ids": ids} if asked else {}), **likeliest},
            usage={"prompt_tokens": len(request), "completion_tokens": len(ids)},
            whole={"prompt_token_ids": request} if asked else {},
        )

    return answer


@contextmanager
def serve_tiny(
    tokenizer: Any, told: Callable[[Reply], Reply] = lambda reply: reply, **how: Any
) -> Iterator[ScriptedServer]:
    """Run the tiny model behind a server.

    Args:
        tokenizer: the served one.
        told: from an answer with its tokens to what is sent of it.
        **how: see `tiny_answers`.
    """
    answer = tiny_answers(tokenizer, **how)
    with serve(lambda messages: None, models=None) as server:
        server.answer_body = lambda body: told(answer(body))
        yield server
