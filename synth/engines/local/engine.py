"""A model in this process, with requests answered in batches."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from synth.engines.base import Answer, Request
from synth.engines.chat import answer_limit, template_identity
from synth.engines.local.scheduler import BATCH_SIZE, Scheduler
from synth.engines.tops import check_vocabulary
from synth.engines.weights import check_model_name, describe

if TYPE_CHECKING:
    from synth.engines.local.batch import Row
    from synth.engines.local.continuous import ContinuousBatching
    from synth.engines.local.model import LocalModel
    from synth.engines.local.scorer import LocalScorer

Result = TypeVar("Result")


class TransformersEngine:
    """A Hugging Face model, loaded at the first request and asked by one thread.

    Requests of all stages are decoded side by side, those with different beginnings, too, and what
    they share at their beginning is read once: by transformers' continuous batching on a GPU, by
    `scheduler` elsewhere.

    A request's answer does not depend on the requests beside it but for rounding: in float32 it
    practically never changes, in bfloat16 a near tie between two tokens may fall either way.

    Args:
        model: a folder or a name on the hub.
        dtype: "auto" (bfloat16 where the hardware has it, else float32), "bfloat16", ...
        batch_size: rows decoded at once, at most; None is 32 on a CPU, on a GPU what memory allows.
        chat_template_kwargs: passed to the chat template.
        continuous_batching: whether transformers' is used, if the model passes its trial; None: on
            a GPU. Or the fields of its `ContinuousBatchingConfig`.

    Raises:
        EngineError: there is no such model folder.
    """

    def __init__(
        self,
        model: str,
        dtype: str = "auto",
        batch_size: int | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        continuous_batching: bool | Mapping[str, Any] | None = None,
    ) -> None:
        check_model_name(model)
        # Read when torch is loaded. Without it the threads of a CPU spin while they wait for each
        # other: a quarter faster on a machine that does nothing else, several times slower on
        # one that does. Whoever sets the variable is obeyed.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self.model = model
        self.dtype = dtype
        self.batch_size = batch_size
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self._identity: dict[str, str] | None = None
        self._local: LocalModel | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="synth-model")
        self._wanted = continuous_batching
        self._continuous = False
        self._batching: Scheduler | ContinuousBatching | None = None
        self._closed = False

    @property
    def waiting(self) -> None:
        """A model in this process is not waited for."""

    @property
    def identity(self) -> dict[str, str]:
        """Name, revision (a hash of the folder's content, or the hub's commit), dtype, template
        arguments. Not the path, nor the batch size."""
        if self._identity is None:
            _quiet()
            from synth.engines.local.model import resolve_dtype

            dtype = str(resolve_dtype(self.dtype)).removeprefix("torch.")
            self._identity = {**describe(self.model), "dtype": dtype}
            self._identity |= template_identity(self.model, self.chat_template_kwargs)
        return self._identity

    @property
    def capacity(self) -> int:
        """Rows decoded at once, at most."""
        from synth.engines.local.device import device_type

        return self.batch_size or BATCH_SIZE[device_type()]

    async def generate(self, request: Request) -> Answer:
        """Answer one request; see `Engine.generate` for what is raised."""
        loop = asyncio.get_running_loop()
        if self._local is None:
            await loop.run_in_executor(self._thread, self._load)
        if self._closed:  # while the model was loading
            raise asyncio.CancelledError
        batching = self._start()
        row = await batching.answer(self._to_row(request))
        return self._model().answer_of(row)

    async def context(self) -> int:
        """Tokens that the model takes; it is loaded for that."""
        if self._local is None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        return self._model().context

    async def scorer(self) -> LocalScorer:
        """The model itself, asked for its probabilities."""
        from synth.engines.local.scorer import LocalScorer

        return LocalScorer(self.on_model)

    async def on_model(self, work: Callable[[LocalModel], Result]) -> Result:
        """Do something with the model itself, in its thread, between answers."""
        loop = asyncio.get_running_loop()
        if self._local is None:
            await loop.run_in_executor(self._thread, self._load)
        if self._continuous and self._batching is not None:
            await loop.run_in_executor(self._thread, self._batching.close)
            self._batching = None
        return await loop.run_in_executor(self._thread, lambda: work(self._model()))

    async def close(self) -> None:
        """Stop at the next token, cancel what is not answered, let go of the model."""
        self._closed = True
        if self._batching is not None:
            self._batching.close()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._local = self._batching = None

    def _load(self) -> None:
        if self._local is None:
            _quiet()
            from synth.engines.local.model import LocalModel

            local = LocalModel(self.model, self.dtype, self.chat_template_kwargs)
            on_gpu = local.device.type == "cuda"
            if on_gpu if self._wanted is None else self._wanted is not False:
                from synth.engines.local.continuous import passes_trial

                self._continuous = passes_trial(local)
            self._local = local

    def _start(self) -> Scheduler | ContinuousBatching:
        """What reads and decodes the requests; made at the first one."""
        if self._batching is None and self._continuous:
            from synth.engines.local.continuous import ContinuousBatching

            settings = self._wanted if isinstance(self._wanted, Mapping) else {}
            self._batching = ContinuousBatching(self._model(), self.batch_size, **settings)
        elif self._batching is None:
            self._batching = Scheduler(self._model(), self._thread, self.batch_size)
        return self._batching

    def _model(self) -> LocalModel:
        assert self._local is not None, "the model is loaded before anything else"
        return self._local

    def _to_row(self, request: Request) -> Row:
        from synth.engines.local.batch import Row

        local = self._model()
        check_vocabulary(request.logprobs, local.vocabulary, self.model)
        ids = local.render(request)
        return Row(request, ids, answer_limit(ids, request, local.context))


def _quiet() -> None:
    """Keep off the terminal what libraries say while they are imported: extras that this machine
    has no use for, and deprecations among themselves."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
