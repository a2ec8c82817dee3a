"""Hashes by which prompts, rows and requests are known.

What tells one request from another, and what does not:

| changes the key of a stored answer        | does not, and why                                  |
|-------------------------------------------|----------------------------------------------------|
| the model: an engine's `identity` (name;  | the server's address, the number of servers, the   |
| in process the weights, the chat template | API key: the same model may move                   |
| and the dtype)                            |                                                    |
| every message with all it holds, to the   | concurrency, batch size, time-outs, repetitions,   |
| last space; the tools                     | Ray: how, not what, is asked                       |
| temperature, top_p, max_tokens; thinking, | the stage that asks, the row's position: the same  |
| where it is off; the stage's own request  | question has the same answer                       |
| and template arguments                    | headers: they tell the server who asks             |
| the seed, unless temperature is 0         | top_p and the seed when temperature is 0: greedy   |
|                                           | decoding draws nothing                             |
|                                           | how many rows are wanted, the split, the filters:  |
|                                           | they choose among answers                          |
|                                           | how many of the likeliest tokens are to be told:   |
|                                           | an answer without them is asked for again          |
|                                           | 1 or 1.0, the order of keys, the escape of an      |
|                                           | umlaut: the JSON that is hashed is canonical       |

A model's answer is stored; a refusal (too long, filtered) is not. Its cure may lie at the server.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from synth.engines.base import Message, Request
from synth.engines.messages import as_dicts


def canonical(value: Any) -> str:
    """A value's canonical JSON: sorted keys, no spaces, no escapes that are not needed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """The SHA-256, in hex, of a value's canonical JSON in UTF-8."""
    return _sha256(canonical(value))


def prompt_hash(prompt: Sequence[Message], tools: str = "") -> str:
    """The hash of a prompt's messages, and of the tools that go with it."""
    return digest([as_dicts(prompt), json.loads(tools)] if tools else as_dicts(prompt))


def prompt_id(task_name: str, prompt: Sequence[Message], tools: str = "") -> str:
    """The name of a prompt in the dataset: the task's name and the start of the hash."""
    return f"{task_name}-{prompt_hash(prompt, tools)[:8]}"


def row_id(prompt_name: str, text: str) -> str:
    """The id of the row for the input `text`: the same wherever and whenever it is made."""
    data = (prompt_name + text).encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:16]


def derived_seed(seed: int, name: str) -> int:
    """A seed in [0, 2**31) that depends on the run's seed and `name` alone."""
    data = hashlib.sha256(f"{seed}-{name}".encode()).digest()
    return int.from_bytes(data[:4], "big") >> 1


def request_key(identity: dict[str, str], request: Request) -> str:
    """The key under which a request's answer is stored; see the table above."""
    sampling = request.sampling
    greedy = sampling.temperature == 0
    own = {
        "request_args": sampling.request_args,
        "chat_template_kwargs": sampling.chat_template_kwargs,
    }
    values = {
        "model": identity,
        "temperature": float(sampling.temperature),
        "top_p": 1.0 if greedy else float(sampling.top_p),
        "max_tokens": sampling.max_tokens,
        "seed": 0 if greedy else request.seed,
        # Absent where empty, as before there were any: the keys of stored answers stay.
        **{name: dict(arguments) for name, arguments in own.items() if arguments},
    }
    if request.tools:
        values["tools"] = request.tools
    if not sampling.thinking:
        values["thinking"] = False
    parts = {name: canonical(value) for name, value in values.items()}
    parts["messages"] = f"[{','.join(map(_message_text, request.messages))}]"
    # `digest` of it all, but for the prompt, whose JSON is made once.
    return _sha256("{" + ",".join(f'"{name}":{parts[name]}' for name in sorted(parts)) + "}")


# The prompt stands in most of a run's messages; the others are used once.
@functools.lru_cache(maxsize=16)
def _message_text(message: Message) -> str:
    [value] = as_dicts([message])
    return canonical(value)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
