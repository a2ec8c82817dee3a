"""From a request's messages to token ids, and back: what the engines in this process share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from synth.engines.base import OVERLONG, Request
from synth.errors import EngineError, RowError

# How a chat template begins a thought at the end of a request, and how many tokens that takes.
THOUGHT_BEGUN = re.compile(
    r"(?:<(?:[a-z]{1,12}[:_])?think(?:ing)?>|\[THINK\]|\u25c1think\u25b7|<\|START_THINKING\|>)\s*\Z",
    re.IGNORECASE,
)
MARK_TOKENS = 16


def check_template(tokenizer: Any, model: str) -> None:
    """Raise an EngineError when the tokenizer has no chat template."""
    if not tokenizer.chat_template:
        raise EngineError(
            f"The tokenizer of {model} has no chat template.",
            "Use an instruction-tuned model, or put its template into the model's folder "
            "as chat_template.jinja.",
        )


def request_ids(
    tokenizer: Any, template_kwargs: dict[str, Any], request: Request, model: str
) -> list[int]:
    """The request's token ids, up to where the answer begins.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        template_kwargs: passed to the template; the request's own go over them.
        request: what is asked.
        model: its name, for messages.

    Raises:
        EngineError: the chat template does not take these messages, or the request has arguments
            that a server alone takes.
    """
    from jinja2 import TemplateError

    if request.sampling.request_args:
        raise EngineError(
            f"{model} runs in this process, and a stage of task.yml has request_args for it: "
            f"{', '.join(request.sampling.request_args)}.",
            "They are fields of a server's request: leave them out, or name a server with "
            "--base-url. Arguments of the chat template go into chat_template_kwargs.",
        )
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    try:
        rendered = tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=True,
            return_dict=True,
            **{**template_kwargs, **request.sampling.chat_template_kwargs},
        )
    except TemplateError as error:
        roles = ", ".join(message.role for message in request.messages)
        raise EngineError(
            f"The chat template of {model} does not take these roles: {roles} ({error}).",
            "If it takes no system message, set `prompt_role: user` in task.yml.",
        ) from error
    return list(rendered["input_ids"])


def answer_limit(ids: list[int], request: Request, context: int) -> int:
    """How many tokens the answer to `ids` may have in a context of so many tokens.

    Raises:
        RowError: there is no room for an answer.
    """
    room = context - len(ids)
    if room < 1:
        raise RowError(
            OVERLONG,
            f"The request has {len(ids)} tokens, the model takes {context}.",
        )
    return min(request.sampling.max_tokens, room)


def end_ids(
    tokenizer: Any, template_kwargs: dict[str, Any], configured: int | list[int] | None
) -> list[int]:
    """Every token that ends an answer: the folder's, the tokenizer's, the template's."""
    ends: Iterable[int | None] = configured if isinstance(configured, list) else [configured]
    ends = [*ends, tokenizer.eos_token_id, _turn_end_id(tokenizer, template_kwargs)]
    return list(dict.fromkeys(end for end in ends if end is not None))


def answer_text(tokenizer: Any, request: list[int], tokens: list[int]) -> str:
    """The text of an answer's tokens, with the special tokens inside it, which mean something.

    They mark thoughts or tool calls, or begin a turn that is somebody else's. Where the chat
    template has begun a thought at the request's end, the text begins with its mark: what comes
    behind it is a thought, also when the token limit cuts it.

    Args:
        tokenizer: a Hugging Face tokenizer.
        request: the request's token ids.
        tokens: the answer's, without its end token.
    """

    def text_of(ids: list[int]) -> str:
        text: str = tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    begun = THOUGHT_BEGUN.search(text_of(request[-MARK_TOKENS:]))
    return (begun[0] if begun else "") + text_of(tokens)


def _turn_end_id(tokenizer: Any, template_kwargs: dict[str, Any]) -> int | None:
    """The special token that the chat template puts right after an assistant turn."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "marker"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, **template_kwargs)
    after = text.rpartition("marker")[2].lstrip()
    ids = tokenizer.encode(after, add_special_tokens=False)
    known = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return ids[0] if ids and ids[0] in known else None
