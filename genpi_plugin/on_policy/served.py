"""The student answers through a vLLM server, which is given its weights of the moment.

The adapter is saved to a folder, loaded into the server under a name that is used once, and taken
out when the answers are there. So what the server remembers of requests (its prefix cache, by an
adapter's name and path) is never of other weights, and nothing of a run stays on it.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from axolotl.utils.logging import get_logger

from genpi_plugin.args import OnPolicySettings
from genpi_plugin.data.digests import of
from genpi_plugin.errors import GenPIError
from genpi_plugin.on_policy.rollouts import Student, seed_of
from genpi_plugin.on_policy.server import Server
from genpi_plugin.on_policy.store import Rollout
from genpi_plugin.reading.likelihood import logprobs_of

LOG = get_logger("axolotl.genpi")
# Of the answer that is compared with the model in training: tokens, and how far their
# log-probabilities may be apart, in nats, in the mean. Rounding and quantized weights come to less.
COMPARED, LIMIT = 32, 0.5


class ServedStudent(Student):
    """The model in training as it answers requests on a vLLM server.

    An answer depends on its name and the weights, as in this process; but its random numbers, and
    rounding, are the server's.
    """

    def __init__(
        self,
        settings: OnPolicySettings,
        ends: Sequence[int],
        seed: int,
        base: str,
        server: Server,
        folder: Path,
        trial: list[int],
    ) -> None:
        """
        Args:
            ends, seed, base: as `Student`.
            folder: for adapters, seen by the server under the same path.
            trial: a request to try the server with.
        """
        super().__init__(settings, ends, 0, seed, base)
        self.server = server
        self.folder = folder.resolve()
        self.trial = trial
        self._said = -1.0  # nats

    @property
    def how(self) -> str:
        # The same settings draw other answers there. Which server it is does not matter.
        return of(["vllm", super().how])

    def try_out(self, model: Any) -> None:
        """Load the adapter as it is, and compare. Every rank must call.

        Raises:
            GenPIError: the server can't be used, with what to do.
        """
        with self._loaded(model, self.trial):
            pass

    def answer(
        self,
        model: Any,
        requests: Sequence[list[int]],
        names: Sequence[tuple[int, str, int]],
        done: Callable[[int, Rollout], Any],
    ) -> None:
        """As `Student.answer`; every rank must call, also without requests."""
        some = gather_object(list(requests[:1]))
        if not some:
            return
        with self._loaded(model, some[0]) as adapter:
            self._ask(adapter, requests, names, done)

    def _ask(
        self,
        adapter: str,
        requests: Sequence[list[int]],
        names: Sequence[tuple[int, str, int]],
        done: Callable[[int, Rollout], Any],
    ) -> None:
        settings = self.settings

        def ask(request: list[int], name: tuple[int, str, int]) -> Rollout:
            seed = int.from_bytes(seed_of(self.seed, "answer", *name)[:4])
            given = self.server.answer(
                adapter, request, self.ends, settings.max_new_tokens, settings.temperature, seed
            )
            return Rollout(given.ids, cut=given.ids[-1] not in self.ends)

        with ThreadPoolExecutor(settings.batch_size) as pool:
            asked = {
                pool.submit(ask, request, name): place
                for place, (request, name) in enumerate(zip(requests, names, strict=True))
            }
            try:
                for future in as_completed(asked):
                    done(asked[future], future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    @contextlib.contextmanager
    def _loaded(self, model: Any, request: list[int]) -> Iterator[str]:
        """The name under which the server has the weights of the moment, as compared with the
        model's along an answer to a request. The first process loads them for all."""
        state = PartialState()
        told: list[Any] = [f"genpi-{uuid.uuid4().hex[:12]}", None]
        try:
            if state.is_main_process:
                try:
                    self._load(model, told[0], request)
                except GenPIError as error:
                    told[1] = (error.cause, error.cure)
            name, fault = broadcast_object_list(told)
            if fault:
                raise GenPIError(*fault)
            yield name
            state.wait_for_everyone()
        finally:
            if state.is_main_process:
                self.server.unload(told[0])
                shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self, model: Any, name: str, request: list[int]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed
        folder = self.folder / name
        # A server has the base model's embeddings.
        model.save_pretrained(str(folder), save_embedding_layers=False)
        self.server.load(name, folder)
        self._compare(model, name, request)

    def _compare(self, model: Any, name: str, request: list[int]) -> None:
        """Another base model, and weights that the server left out, show in what it holds likely.

        At temperature 1 its log-probabilities are the model's own, in each `--logprobs-mode`.
        """
        limit = min(COMPARED, self.settings.max_new_tokens)
        given = self.server.answer(name, request, self.ends, limit, 1.0, seed=0, told=True)
        ours = logprobs_of(model, request, given.ids).tolist()
        apart = [abs(one - other) for one, other in zip(ours, given.logprobs, strict=True)]
        far = sum(apart) / len(apart)
        if not far <= LIMIT:
            raise GenPIError(
                f"{self.server.url} has another model than the one in training: along an answer of "
                f"{len(apart)} tokens their log-probabilities are {far:.2g} nats apart in the mean "
                f"(the first: {ours[0]:.2f} in training, {given.logprobs[0]:.2f} there).",
                "serve the `base_model` of the YAML, at its revision.",
            )
        # A new adapter does nothing yet: how far they are apart may show later.
        if far > 2 * self._said:
            LOG.info(
                f"genpi: the student answers through {self.server.url}, which has its weights: "
                f"along {len(apart)} tokens the log-probabilities there and here are {far:.2g} "
                "nats apart in the mean"
            )
            self._said = far
