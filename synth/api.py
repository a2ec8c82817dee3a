"""`synth.make`: from Python what `python -m synth run` does from the command line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from genpi_plugin.data.inputs.given import Reading
from synth.dataset.summary import Summary
from synth.engines.models import IN_PROCESS, ModelSpec
from synth.engines.server.urls import checked, without_login
from synth.errors import SynthError
from synth.running.run import run
from synth.running.settings import RunSettings
from synth.task.given import read_inputs
from synth.task.taskfile import Task, load_task


def Model(  # it stands for a thing, and reads like one
    name: str,
    *,
    base_url: str | tuple[str, ...] | list[str] = (),
    engine: str | None = None,
    **settings: Any,
) -> ModelSpec:
    """A model and how to reach it.

    Args:
        name: a folder, a name on the Hugging Face hub, or what a server knows it by.
        base_url: the server's address, or several; without one the model runs in this process.
        engine: "transformers", "vllm" or "openai"; "openai" with an address, else "transformers".
        **settings: other fields of `synth.engines.models.ModelSpec`: `api_key_env`, `dtype`,
            `chat_template_kwargs`, `request_args`, `engine_args`, `timeout` ...

    Raises:
        SynthError: an address that is none, an engine that does not exist or takes no address.
        TypeError: a setting that does not exist.
    """
    urls = (base_url,) if isinstance(base_url, str) else tuple(base_url)
    for url in urls:
        checked(url)
    engine = engine or ("openai" if urls else "transformers")
    if engine not in (*IN_PROCESS, "openai"):
        raise SynthError(
            f"There is no engine {engine!r}.", f"Engines are {', '.join((*IN_PROCESS, 'openai'))}."
        )
    if engine in IN_PROCESS and urls:
        raise SynthError(f"base_url goes with engine openai, not {engine}.", "Leave one out.")
    return ModelSpec(name, engine, urls, **settings)


def make(
    task: str | Path | Task,
    target: str | ModelSpec,
    generator: str | ModelSpec | None = None,
    folder: str | Path | None = None,
    count: int | None = None,
    inputs: str | Path | None = None,
    seed: int = 0,
    *,
    overrides: Mapping[str, Any] | None = None,
    logprobs: int | None = None,
    resume_changed: bool = False,
    console: Console | None = None,
    **settings: Any,
) -> Summary:
    """Make a dataset in a folder, or go on making it, as `python -m synth run` does.

    The folder holds the same files; one that the command began can be finished here, and the other
    way round. Where an event loop is running, as in a notebook, the run has a thread of its own;
    an interrupt stops it there as Ctrl-C does elsewhere.

    Args:
        task: a shipped task's name, a task's folder or task.yml, or what `load_task` gave.
        target: the model that learns: a folder, a hub name, or `synth.Model(...)`.
        generator: who writes inputs and reasons and plays the environment; None is the target.
        folder: the dataset's folder; None is `data/NAME OF THE TASK`.
        count: how many inputs; None is the task's `inputs.count`, with `inputs` all of them.
        inputs: a file of your own inputs; `reading=synth.Reading(...)` says of it what
            --input-column, --input-split and --answers say.
        seed: of everything that is drawn.
        overrides: values that replace those of task.yml, by dotted key.
        logprobs: how many of the likeliest tokens are kept at each token that the target answers
            with the prompt; None is the task's `outputs.logprobs`.
        resume_changed: an earlier run in the folder may have had other settings.
        console: where progress is shown on a terminal; None is stderr.
        **settings: other fields of `synth.running.settings.RunSettings`: `concurrency`,
            `batch_size`, `max_failure_rate`, `prices` ...

    Returns:
        The run's counts. `Summary.check_whole` raises where rows are still pending.

    Raises:
        SynthError: as the command does; `cause` says what was wrong and `cure` what to do.
        KeyboardInterrupt: it was interrupted; every answer so far is kept.
        TypeError: a setting that does not exist.
    """
    place_of_inputs = None if inputs is None else Path(inputs)
    loaded = _task(task, count, place_of_inputs, overrides, settings.get("reading"))
    loaded = _with_logprobs(loaded, logprobs)
    spec = _spec(target)
    chosen = RunSettings(
        spec,
        spec if generator is None else _spec(generator),
        seed,
        place_of_inputs,
        **settings,
    )
    call = chosen.command or _call(task, folder, count, inputs, chosen, logprobs)
    chosen = replace(chosen, command=call)
    place = Path("data") / loaded.config.name if folder is None else Path(folder)
    console = console or Console(stderr=True)
    with _logging():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return run(loaded, chosen, place, console, resume_changed)
        return _in_thread(loaded, chosen, place, console, resume_changed)


def _task(
    task: str | Path | Task, count: int | None, inputs: Path | None,
    overrides: Mapping[str, Any] | None, reading: Reading | None = None,
) -> Task:  # fmt: skip
    values = dict(overrides or {})
    if count is None and inputs is not None and "inputs.count" not in values:
        logs_of = task if isinstance(task, Task) else load_task(str(task), values)
        count = len(read_inputs(inputs, None, reading, logs_of).inputs)
    if count is not None:
        values["inputs.count"] = count
    if not isinstance(task, Task):
        return load_task(str(task), values)
    if not values:
        return task
    if values.keys() != {"inputs.count"}:
        raise SynthError(
            "`overrides` goes with a task's name or folder.",
            "Give them to `load_task` with the rest of the task.",
        )
    sized = task.config.inputs.model_copy(update={"count": count})
    return replace(task, config=task.config.model_copy(update={"inputs": sized}))


def _with_logprobs(task: Task, logprobs: int | None) -> Task:
    if logprobs is None:
        return task
    if logprobs < 0:
        raise SynthError(f"logprobs={logprobs}: fewer than none.", "Give 0 or more; 20 are usual.")
    kept = task.config.outputs.model_copy(update={"logprobs": logprobs})
    return replace(task, config=task.config.model_copy(update={"outputs": kept}))


def _spec(model: str | ModelSpec) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, str | Path):
        raise SynthError(
            f"{type(model).__name__} is not a model.",
            'Give a folder or a name, or synth.Model("name", base_url="http://...").',
        )
    return Model(str(model))


def _call(
    task: str | Path | Task, folder: str | Path | None, count: int | None,
    inputs: str | Path | None, settings: RunSettings, logprobs: int | None,
) -> str:  # fmt: skip
    """The call, for the card and for whoever goes on: names, no secrets."""

    def model(spec: ModelSpec) -> str:
        urls = [without_login(url) for url in spec.base_urls]
        return f"synth.Model({spec.model!r}, base_url={urls})" if urls else repr(spec.model)

    name = str(task.source.parent) if isinstance(task, Task) else str(task)
    given = {
        "generator": None if settings.generator == settings.target else model(settings.generator),
        "folder": None if folder is None else repr(str(folder)),
        "count": None if count is None else repr(count),
        "inputs": None if inputs is None else repr(str(inputs)),
        "reading": repr(settings.reading) if settings.reading != Reading() else None,
        "seed": repr(settings.seed) if settings.seed else None,
        "logprobs": None if logprobs is None else repr(logprobs),
    }
    more = "".join(f", {key}={value}" for key, value in given.items() if value is not None)
    return f"synth.make({name!r}, {model(settings.target)}{more})"


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    """What a run says reaches its run.log, whatever the program logs."""
    logger = logging.getLogger("synth")
    level = logger.level
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Stoppable:
    """Runs a coroutine in the thread that calls it, and can be stopped from another."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def __call__(self, work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._task = self._loop.create_task(work)
            if self._stopped:
                self._task.cancel()
            try:
                self._loop.run_until_complete(self._task)
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None

    def stop(self) -> None:
        self._stopped = True
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has just come to its end
                self._loop.call_soon_threadsafe(self._task.cancel)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt: `asyncio.run` only cancels its task, which is waiting."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_thread(
    task: Task, settings: RunSettings, folder: Path, console: Console, resume_changed: bool
) -> Summary:
    """`run` in a thread without an event loop; whoever waits for it can interrupt it."""
    results: list[Summary] = []
    errors: list[BaseException] = []
    stoppable, ended = _Stoppable(), threading.Event()

    def work() -> None:
        try:
            results.append(run(task, settings, folder, console, resume_changed, stoppable))
        except BaseException as error:  # raised again by whoever waits
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=work, name="synth-run")
    with _interruptible():
        thread.start()
        # Not `join`: before Python 3.13 a thread whose join was interrupted counts as ended.
        while not ended.is_set():
            try:
                ended.wait(0.2)  # Windows notices an interrupt between two waits
            except KeyboardInterrupt:
                stoppable.stop()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
