"""What a vLLM server's refusals mean, and what to do about them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from genpi_plugin.errors import GenPIError

RANK = re.compile(r"rank (\d+) is greater than max_lora_rank (\d+)")
# What is said of an address that a server does not have, not of an adapter.
NO_SUCH_PAGE = "Not Found"
SERVE = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE_MODEL --enable-lora"


def refused(url: str, key: str, what: str, error: Exception) -> GenPIError:
    """A request that failed.

    Args:
        key: the environment variable that holds the API key.
        what: was asked of the server.
        error: an `openai.APIError`, or a `ValueError` for a reply that is not JSON.
    """
    import openai

    if isinstance(error, openai.APITimeoutError):
        return GenPIError(
            f"{url}, asked {what}, did not answer in time.",
            "look at its log; a lower `on_policy.batch_size` asks less of it at once.",
        )
    if isinstance(error, openai.APIConnectionError):
        return GenPIError(
            f"there is no server at {url} ({error.__cause__ or error}).",
            f"start it: {SERVE}; or correct `on_policy.server`.",
        )
    if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
        return GenPIError(
            f"{url} refused the API key in {key}: {_words(error)}",
            f"set it (export {key}=...) to the server's `--api-key`.",
        )
    return GenPIError(
        f"{url}, asked {what}, refused: {_words(error)}",
        f"look at its log; it has to be vLLM's: {SERVE}.",
    )


def refused_adapter(url: str, key: str, folder: Path, error: Exception) -> GenPIError:
    """An adapter that the server did not load.

    Args:
        folder: it is in.
    """
    import openai

    said = _words(error)
    if found := RANK.search(said):
        return GenPIError(
            f"{url} loads no adapter of rank {found[1]}: its `--max-lora-rank` is {found[2]}.",
            f"start it with `--max-lora-rank {found[1]}`.",
        )
    if isinstance(error, openai.NotFoundError):
        if said == NO_SUCH_PAGE:
            return GenPIError(
                f"{url} lets no adapter be loaded while it runs.", f"start it so: {SERVE}."
            )
        return GenPIError(
            f"{url} finds no adapter in {folder}: {said}",
            "let it see `output_dir` under the same path: on the same machine, or on a disk that "
            "both have.",
        )
    if not isinstance(error, openai.APIStatusError) or error.status_code in (401, 403):
        return refused(url, key, "to load the adapter", error)
    return GenPIError(
        f"{url} did not load the adapter: {said}",
        f"start it so: {SERVE}; where it is, its log says more. vLLM takes plain LoRA: no DoRA, no "
        "`lora_modules_to_save`.",
    )


def not_told(url: str) -> GenPIError:
    """An answer without what was asked for beside its text."""
    return GenPIError(
        f"{url} told no token ids of an answer (`return_token_ids`), or no log-probabilities.",
        f"serve the model with vLLM 0.10.2 or later: {SERVE}.",
    )


def _words(error: Exception) -> str:
    """The server's own message, without the client's wrapping."""
    body: Any = getattr(error, "body", None)
    if isinstance(body, dict):
        for name in ("message", "detail", "error"):
            if body.get(name):
                return str(body[name])
    return str(error)
