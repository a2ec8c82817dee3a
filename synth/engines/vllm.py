"""vLLM in this process: `pip install vllm` where there is a GPU."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

from genpi_plugin.data import tokenizers
from synth.engines.base import Answer, Request, Usage
from synth.engines.chat import (
    Chat,
    answer_limit,
    answer_text,
    check_template,
    template_identity,
)
from synth.engines.tops import Tops, check_vocabulary
from synth.engines.weights import cannot_load, check_model_name, describe
from synth.errors import EngineError, RequestError

MEMORY = (
    "vLLM's own messages above say more. Where its cache does not fit, name a smaller context "
    "(--engine-args '{\"max_model_len\": 8192}'), more GPUs (tensor_parallel_size), or, for two "
    "models on one GPU, a share for each (gpu_memory_utilization)."
)

# Requests that vLLM decodes at once when it is not told; some versions and GPUs take more.
MAX_NUM_SEQS = 256
# Log-probabilities as the model gives them, before temperature, `top_p` and penalties.
RAW = "raw_logprobs"
# Of `max_logprobs`: as many as the vocabulary has. vLLM's own limit is 20.
NO_LIMIT = -1


class VLLMEngine:
    """A Hugging Face model, loaded by vLLM at the first request, with prefix caching.

    vLLM groups the requests that are under way by itself. It is given token ids, so that a
    request reads the same as with the `transformers` engine.

    Args:
        model: a folder or a name on the hub.
        dtype: "auto" (the model's own), "bfloat16", ...
        batch_size: requests decoded at once, at most; None leaves it to vLLM.
        chat_template_kwargs: passed to the chat template.
        engine_args: arguments of vLLM's `AsyncEngineArgs`, before those above.

    Raises:
        EngineError: there is no such model folder, no vLLM, or it takes no such argument.
    """

    def __init__(
        self,
        model: str,
        dtype: str = "auto",
        batch_size: int | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        engine_args: dict[str, Any] | None = None,
    ) -> None:
        check_model_name(model)
        try:
            import vllm  # noqa: F401
        except ImportError as error:
            raise EngineError(
                f"vLLM can't be imported: {error}.",
                "pip install vllm, or leave --engine vllm out. A vLLM server needs neither: "
                "name it with --base-url.",
            ) from error
        self.model = model
        self.dtype = dtype
        self.batch_size = batch_size
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self.engine_args = dict(engine_args or {})
        self._identity: dict[str, str] | None = None
        self._engine: Any = None
        self._tokenizer: Any = None
        self._mark = ""
        self._end_ids: list[int] = []
        self._chat: Chat | None = None
        self._numbers = itertools.count()

    @property
    def waiting(self) -> None:
        """A model in this process is not waited for."""

    @property
    def identity(self) -> dict[str, str]:
        """Name, revision, dtype, template arguments; as of the `transformers` engine."""
        if self._identity is None:
            self._identity = {**describe(self.model), "dtype": self.dtype}
            self._identity |= template_identity(self.model, self.chat_template_kwargs)
        return self._identity

    @property
    def capacity(self) -> int:
        """Requests that vLLM decodes at once, at most."""
        return self.batch_size or self.engine_args.get("max_num_seqs") or MAX_NUM_SEQS

    async def generate(self, request: Request) -> Answer:
        """Answer one request; see `Engine.generate` for what is raised."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        if request.logprobs:
            check_told(request.logprobs, self.engine_args)
        if self._engine is None:
            self._load()
        assert self._chat is not None, "it is loaded with the model"
        ids = self._chat.request_ids(request)
        limit = answer_limit(ids, request, self._engine.model_config.max_model_len)
        if request.logprobs:
            check_vocabulary(request.logprobs, len(self._tokenizer), self.model)
        how = request.sampling
        params = SamplingParams(
            temperature=how.temperature,
            top_p=how.top_p if how.temperature else 1.0,
            seed=request.seed if how.temperature else None,
            max_tokens=limit,
            stop_token_ids=self._end_ids,
            **({"logprobs": request.logprobs} if request.logprobs else {}),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        stream = self._engine.generate({"prompt_token_ids": ids}, params, f"{next(self._numbers)}")
        try:
            [done] = [result.outputs[0] async for result in stream]
        except EngineDeadError as error:
            raise EngineError(
                f"vLLM stopped: {error}",
                "Its own messages above say why. What was answered is kept.",
            ) from error
        sampled = tuple(done.token_ids)
        tokens = list(sampled)
        if done.finish_reason == "stop" and tokens and tokens[-1] in self._end_ids:
            tokens.pop()
        if done.finish_reason not in {"stop", "length"}:
            raise RequestError(
                f"vLLM broke off an answer ({done.finish_reason}).",
                "Run the same command again to go on.",
            )
        return Answer(
            text=answer_text(self._tokenizer, ids, tokens),
            finish="length" if done.finish_reason == "length" else "stop",
            token_ids=sampled,
            tokenizer=self._mark,
            usage=Usage(len(ids), len(tokens)),
            # Beside the likeliest stands the token that was drawn, where it is none of them.
            tops=Tops.of(
                request.logprobs,
                [{token: one.logprob for token, one in place.items()} for place in done.logprobs],
            )
            if request.logprobs
            else None,
        )

    async def context(self) -> int:
        """Tokens that the model takes; it is loaded for that."""
        if self._engine is None:
            self._load()
        return int(self._engine.model_config.max_model_len)

    async def scorer(self) -> None:
        """vLLM in this process is not asked to score; a vLLM server is."""

    async def close(self) -> None:
        """Stop vLLM's process."""
        if self._engine is not None:
            await asyncio.to_thread(self._engine.shutdown)
            self._engine = None

    def _load(self) -> None:
        """Holds up everything else, which could do nothing without the model either."""
        from transformers import AutoTokenizer
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        limit = {} if self.batch_size is None else {"max_num_seqs": self.batch_size}
        known = {"model": self.model, "dtype": self.dtype, "enable_prefix_caching": True, **limit}
        try:
            arguments = AsyncEngineArgs(**{"max_logprobs": NO_LIMIT, **self.engine_args, **known})
            self._tokenizer = AutoTokenizer.from_pretrained(self.model)
            check_template(self._tokenizer, self.model)
            self._engine = AsyncLLM.from_engine_args(arguments)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            why = cannot_load(self.model, error)
            raise EngineError(why.cause, f"{why.cure} {MEMORY}") from error
        # vLLM knows the folder's end tokens by itself; these are the template's and tokenizer's.
        self._mark = tokenizers.mark(self._tokenizer)
        self._chat = Chat(self._tokenizer, self.chat_template_kwargs, self.model)
        self._end_ids = self._chat.end_ids(None)


def check_told(k: int, engine_args: Mapping[str, Any]) -> None:
    """Check that vLLM tells `k` log-probabilities at a token, as the model gives them.

    Args:
        k: how many.
        engine_args: what vLLM is started with beside ours.

    Raises:
        EngineError: it does not.
    """
    mode = engine_args.get("logprobs_mode", RAW)
    if mode != RAW:
        raise EngineError(
            f"--logprobs needs the model's own log-probabilities, and --engine-args has "
            f"logprobs_mode {mode!r}.",
            f"Leave it out: {RAW} is vLLM's own default.",
        )
    most = engine_args.get("max_logprobs", NO_LIMIT)
    if isinstance(most, int) and NO_LIMIT != most < k:
        raise EngineError(
            f"--logprobs {k}: --engine-args has max_logprobs {most}, and vLLM tells no more at a "
            "token.",
            f"Leave it out of --engine-args, and there is no limit; or give --logprobs {most}.",
        )
