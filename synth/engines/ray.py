"""A model on the workers of a Ray cluster, each with an engine of its own.

Rows, store and files stay with the process that runs `synth`: it is the only writer, and what it
writes is what a run without Ray writes.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from synth.engines.base import Answer, Engine, Request
from synth.engines.endpoints import Endpoints
from synth.engines.models import ModelSpec, open_engine
from synth.errors import EngineError, RequestError, SynthError

# The address that stands for RAY_ADDRESS, or the cluster on this machine, or else a new one.
AUTO = "auto"
# A request that so many workers died of is not tried on the next.
MAX_DEATHS = 5
# Seconds in which all workers must have started, and after which it is logged how many have.
STARTING = 600.0
TOLD_EVERY = 15.0
log = logging.getLogger("synth")


class Worker:
    """What runs in the cluster: one engine. Errors come back as values, whole."""

    def __init__(self, spec: ModelSpec, concurrency: int, batch_size: int | None) -> None:
        self._engine: Engine | SynthError
        try:
            self._engine = open_engine(spec, concurrency, batch_size)
        except SynthError as error:
            self._engine = error

    def identity(self) -> dict[str, str] | SynthError:
        """The engine's identity, or why there is no engine."""
        if isinstance(self._engine, SynthError):
            return self._engine
        try:
            return self._engine.identity
        except SynthError as error:
            return error

    def capacity(self) -> int:
        """The engine's capacity; 0 without an engine."""
        return 0 if isinstance(self._engine, SynthError) else self._engine.capacity

    async def context(self) -> int | SynthError | None:
        """The context of the engine's model."""
        if isinstance(self._engine, SynthError):
            return self._engine
        try:
            return await self._engine.context()
        except SynthError as error:
            return error

    async def generate(self, request: Request) -> Answer | SynthError:
        """The engine's answer, or what it raised for the user."""
        if isinstance(self._engine, SynthError):
            return self._engine
        try:
            return await self._engine.generate(request)
        except SynthError as error:
            return error


class RayEngine:
    """A model on several workers; work goes to the least loaded, a dead one is started again.

    Args:
        spec: the model, as on the command line.
        concurrency: requests under way at once, over all workers (openai).
        batch_size: requests a worker answers together (in process).
        address: the cluster; `AUTO`: see there.
        workers: how many; None: one for each GPU of the cluster, or for each node without GPUs.
        models: how many models share each GPU.

    Raises:
        EngineError: no such cluster, no such model, or the workers have different models.
    """

    def __init__(
        self,
        spec: ModelSpec,
        concurrency: int,
        batch_size: int | None,
        address: str = AUTO,
        workers: int | None = None,
        models: int = 1,
    ) -> None:
        _connect(address)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        gpus = 0 if spec.engine == "openai" else int(ray.cluster_resources().get("GPU", 0))
        count = workers or gpus or len(nodes)
        if gpus and count > gpus:
            raise EngineError(
                f"{count} workers are asked for, and the cluster has {gpus} GPUs.",
                f"Give --ray-workers {gpus} or fewer, or leave it out.",
            )
        actor = ray.remote(
            max_restarts=-1,
            max_concurrency=10_000,
            num_gpus=1 / models if gpus else 0,
            num_cpus=_cpus(nodes, count, models) if spec.engine != "openai" and not gpus else 0,
            scheduling_strategy="SPREAD",
        )(Worker)
        each = max(concurrency // count, 1)
        self._patience = spec.patience
        # What a server may be asked in a minute, all its workers share.
        spec = replace(
            spec,
            requests_per_minute=_share(spec.requests_per_minute, count),
            tokens_per_minute=_share(spec.tokens_per_minute, count),
        )
        if Path(spec.model).is_dir():  # a worker has another current folder
            spec = replace(spec, model=str(Path(spec.model).resolve()))
        self.workers = [actor.remote(spec, each, batch_size) for _ in range(count)]
        self.identity = _common_identity(
            _started(lambda: _when_there([worker.identity.remote() for worker in self.workers]))
        )
        self.capacity = sum(
            _started(lambda: ray.get([worker.capacity.remote() for worker in self.workers]))
        )
        self._places = self._new_places()

    @property
    def waiting(self) -> str | None:
        """The workers that are waited for; what a worker itself waits for is not known here."""
        return self._places.waiting()

    async def generate(self, request: Request) -> Answer:
        """Answer one request; see `Engine.generate` for what is raised."""
        deaths = 0
        while True:
            async with self._places.least_loaded() as place:
                asked = time.monotonic()
                try:
                    outcome = await place.place.generate.remote(request)
                except ray.exceptions.RayError as error:
                    why = _died(place.name, error)
                    if isinstance(error, ray.exceptions.RayTaskError):
                        # It lives, but what went wrong in it (a GPU's fault, say) may stay.
                        ray.kill(place.place, no_restart=False)
                    self._places.leave_out(place, asked, why, None)
                    deaths += 1
                    if deaths >= MAX_DEATHS:
                        raise RequestError(why.cause, why.cure) from None
                    continue
                if isinstance(outcome, SynthError):
                    raise outcome
                self._places.answered(place, asked)
                return outcome

    async def context(self) -> int | None:
        """The context of the model, which is the same on all workers."""
        try:
            context = await self.workers[0].context.remote()
        except ray.exceptions.RayError as error:
            raise _died("Worker 1", error) from None
        if isinstance(context, SynthError):
            raise context
        return int(context) if context is not None else None

    async def scorer(self) -> None:
        """A cluster's workers are not asked to score."""

    async def close(self) -> None:
        """End the workers; the cluster stays."""
        for worker in self.workers:
            ray.kill(worker)

    def _new_places(self) -> Endpoints[Any]:
        named = [(f"Worker {number}", worker) for number, worker in enumerate(self.workers, 1)]
        return Endpoints(named, self._patience, "workers")


def _share(cap: float | None, workers: int) -> float | None:
    return None if cap is None else cap / workers


def _connect(address: str) -> None:
    if ray.is_initialized():
        return
    # Ray tells its makers of each use unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(address)
        ray.init(None if address == AUTO else address, logging_level="error", log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise EngineError(
            f"There is no Ray cluster at {address}: {error}",
            "Start one (ray start --head), correct the address, or leave it out: a cluster of "
            "this machine alone is then started.",
        ) from None


def _knock(address: str) -> None:
    """Raise an `OSError` when nobody listens at `host:port`; Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _started(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"The Ray workers could not be started: {error}",
            "axolotl-genpi and the model must be installed on every node. See the cluster's logs.",
        ) from None


def _cpus(nodes: list[dict[str, Any]], count: int, models: int) -> int:
    """The CPUs of a worker without a GPU, which are its threads, too: its share of its node."""
    least = min(node["Resources"].get("CPU", 1) for node in nodes)
    on_a_node = -(-count // len(nodes))
    return max(int(least // (on_a_node * models)), 1)


def _when_there(asked: list[Any]) -> list[Any]:
    """What the workers answer.

    Raises:
        EngineError: the cluster has no room for them for too long.
    """
    began = time.monotonic()
    while True:
        there, missing = ray.wait(asked, num_returns=len(asked), timeout=TOLD_EVERY)
        if not missing:
            return list(ray.get(asked))
        free = ray.available_resources()
        room = f"{free.get('GPU', 0):g} GPUs and {free.get('CPU', 0):g} CPUs are free"
        if time.monotonic() - began > STARTING:
            raise EngineError(
                f"Only {len(there)} of {len(asked)} workers started in {STARTING:.0f} s; {room}.",
                "Wait until others are done with the cluster, or give fewer --ray-workers.",
            )
        log.info("%d of %d workers are there; %s.", len(there), len(asked), room)


def _common_identity(identities: list[dict[str, str] | SynthError]) -> dict[str, str]:
    for identity in identities:
        if isinstance(identity, SynthError):
            raise identity
        if identity != identities[0]:
            raise EngineError(
                f"The workers have different models: {identities[0]} and {identity}.",
                "Put the same files on every node.",
            )
    return dict(identities[0])  # type: ignore[arg-type]


def _died(name: str, error: Exception) -> EngineError:
    brief = " ".join(str(error).split())[:160]
    return EngineError(
        f"{name} is gone ({brief}).",
        "See the cluster's logs; lack of memory is the usual cause (lower --batch-size). "
        "Run the same command again to go on.",
    )
