"""What a server lists of a model by its name: how many tokens it takes, and whose server it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openai

# vLLM and SGLang; LM Studio (as loaded); Groq; OpenRouter and Together; Mistral. What a model was
# trained for (llama.cpp's `n_ctx_train`) is no promise of the server's.
NAMES = (
    "max_model_len",
    "loaded_context_length",
    "context_window",
    "context_length",
    "max_context_length",
)

# Servers whose chat completions take `chat_template_kwargs`, as their lists of models name them.
TAKE_ARGUMENTS = ("vllm", "sglang", "llamacpp")
# A status that another try may not meet: too slow, in conflict, too many requests.
LATER = (408, 409, 425, 429)


async def takes_template_arguments(client: openai.AsyncOpenAI, model: str) -> bool:
    """Whether the server is one that hands `chat_template_kwargs` to the chat template.

    Raises:
        openai.APIError: it can't say now: there is no server, or none that is ready.
    """
    import openai

    try:
        listed = await _list(client)
    except openai.APIStatusError as error:
        if error.status_code in LATER or (error.status_code >= 500 and error.status_code != 501):
            raise
        return False  # it has no list
    return listed.get(model, {}).get("owned_by") in TAKE_ARGUMENTS


async def model_context(client: openai.AsyncOpenAI, model: str) -> int | None:
    """The context of `model`, in tokens; None where the server does not list it.

    Args:
        client: of the server.
        model: the name the server knows the model by. An adapter has the context of the model
            that it belongs to (vLLM's `parent`).
    """
    listed = await _listed(client)
    entry = listed.get(model, {})
    return _context(entry) or _context(listed.get(entry.get("parent", ""), {}))


async def _listed(client: openai.AsyncOpenAI) -> dict[str, dict[str, Any]]:
    """The models that a server lists, by name; none where it has no list, or can't say now."""
    import openai

    try:
        return await _list(client)
    except openai.APIError:
        return {}


async def _list(client: openai.AsyncOpenAI) -> dict[str, dict[str, Any]]:
    """The models that a server lists, by name; none where its reply is no list.

    Raises:
        openai.APIError: there is no reply, or it tells of an error.
    """
    try:
        reply: Any = await client.get("/models", cast_to=object)
    except ValueError:
        return {}
    offered = reply.get("data") if isinstance(reply, dict) else None
    entries = [entry for entry in offered or [] if isinstance(entry, dict)]
    return {str(entry.get("id")): entry for entry in entries}


def _context(entry: dict[str, Any]) -> int | None:
    found = (entry.get(name) for name in NAMES)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
