"""What a run on policy needs, put together; before the first step, whether all answers fit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genpi_plugin.args import OnPolicySettings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import TEACHER_KEY
from genpi_plugin.errors import GenPIError
from genpi_plugin.on_policy.rollouts import Student
from genpi_plugin.on_policy.rows import requests_of, student_requests
from genpi_plugin.on_policy.served import ServedStudent
from genpi_plugin.on_policy.server import Server
from genpi_plugin.on_policy.store import FOLDER, RolloutStore
from genpi_plugin.on_policy.windows import OnPolicy
from genpi_plugin.reading.context import context_of_model
from genpi_plugin.reading.generation import end_tokens, pad_token
from genpi_plugin.teacher.opening import model_digest
from genpi_plugin.teacher.teacher import Teacher

ADAPTERS = "adapters"


def open_on_policy(cfg: Any, settings: OnPolicySettings, trainer: Any) -> OnPolicy:
    """The on-policy part of a training run.

    Args:
        cfg: the axolotl config.
        trainer: a `GenPITrainer` with a teacher.

    Raises:
        GenPIError: an answer of `max_new_tokens` would not fit the model behind a row's prompt, or
            a server that is asked for is not there or has no room for it.
    """
    check_room(settings, trainer.teacher, set(trainer.train_dataset[TEACHER_KEY]), trainer.model)
    tokenizer = trainer.processing_class
    view = ChatView(tokenizer, dict(cfg.get("chat_template_kwargs") or {}))
    ends, seed, base = end_tokens(trainer.model, view), trainer.args.seed, model_digest(cfg, None)
    folder = Path(trainer.args.output_dir) / FOLDER
    student = (
        served_student(settings, trainer.train_dataset, ends, seed, base, folder / ADAPTERS)
        if settings.server
        else Student(settings, ends, pad_token(tokenizer), seed, base)
    )
    return OnPolicy(settings, trainer.teacher, student, RolloutStore(folder))


def check_room(
    settings: OnPolicySettings, teacher: Teacher, keys: Iterable[str], model: Any
) -> None:
    """Every request, with its prompt and a longest answer, must fit the model.

    Args:
        keys: of the rows.

    Raises:
        GenPIError: one does not; says what would.
    """
    limit = context_of_model(model)
    if not limit:
        return
    rows = (teacher.row(key) for key in keys)
    longest = max(
        (len(request) for row in rows for request in requests_of(row.sequences)), default=0
    )
    if longest + settings.max_new_tokens > limit:
        raise GenPIError(
            f"with its prompt a request has up to {longest} tokens, and an answer "
            f"{settings.max_new_tokens} more (`on_policy.max_new_tokens`), but the model reads "
            f"{limit} at most (max_position_embeddings).",
            f"set `max_new_tokens: {limit - longest}` or less."
            if limit > longest
            else "shorten the prompt or the conversations, or remove `on_policy`.",
        )


def served_student(
    settings: OnPolicySettings, rows: Any, ends: list[int], seed: int, base: str, folder: Path
) -> ServedStudent:
    """A student on a server that is there and has room for each request and its answer.

    Args:
        rows: the training set, of `Pair.columns`.
        ends, seed, base, folder: as `ServedStudent`.

    Raises:
        GenPIError: it is not there, or has no room.
    """
    server = Server(settings.server or "")
    requests = sorted(student_requests(rows), key=len)
    shortest, longest = requests[0], len(requests[-1])
    limit = server.context()
    if limit and longest + settings.max_new_tokens > limit:
        raise GenPIError(
            f"a request has up to {longest} tokens, and an answer {settings.max_new_tokens} more "
            f"(`on_policy.max_new_tokens`), but {server.url} takes {limit} together.",
            f"start it with `--max-model-len {longest + settings.max_new_tokens}` or more, or set "
            "a lower `max_new_tokens`.",
        )
    return ServedStudent(settings, ends, seed, base, server, folder, shortest)
