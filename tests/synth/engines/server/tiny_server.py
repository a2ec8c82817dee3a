"""A loopback server that runs the tiny model itself, and tells of tokens as vLLM does.

It renders with transformers and decodes with `generate`: nothing of it is the package's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests.synth.server import Reply, ScriptedServer, serve
from tests.tiny import make_model


def tiny_answers(tokenizer: Any) -> Callable[[dict[str, Any]], Reply]:
    """Greedy answers of the tiny model to requests' bodies."""
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
            )
        ids = out[0, len(request) :].tolist()
        ended = ids[-1] == tokenizer.eos_token_id
        asked = body.get("return_token_ids")
        return Reply(
            tokenizer.decode(ids[:-1] if ended else ids),
            "stop" if ended else "length",
            choice={"token_ids": ids} if asked else {},
            usage={"prompt_tokens": len(request), "completion_tokens": len(ids)},
            whole={"prompt_token_ids": request} if asked else {},
        )

    return answer


@contextmanager
def serve_tiny(
    tokenizer: Any, told: Callable[[Reply], Reply] = lambda reply: reply
) -> Iterator[ScriptedServer]:
    """Run the tiny model behind a server.

    Args:
        tokenizer: the served one.
        told: from an answer with its tokens to what is sent of it.
    """
    answer = tiny_answers(tokenizer)
    with serve(lambda messages: None, models=None) as server:
        server.answer_body = lambda body: told(answer(body))
        yield server
