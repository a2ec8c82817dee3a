"""What a folder's dataset was made with, and that it is not made with something else unasked."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synth.dataset.differences import differences
from synth.errors import SynthError
from synth.store.folder import delete_exports, read_config, write_config
from synth.store.store import Store
from synth.task.config import BEFORE_SHARES, TaskConfig
from synth.task.taskfile import Task

# How it was run, what it is called, and what the evaluation alone reads: no row depends on it.
# `models` is looked at once they are open.
NO_CHANGE = ("run.", "task.scores", "task.description", "inputs_file.name", "models")
COUNT = "task.inputs.count"
LOGPROBS = "task.outputs.logprobs"
OF_TOOLS = "tool_calls"  # the filter that came with them
log = logging.getLogger("synth")


class Provenance:
    """What a folder was made with, and what it is to be made with.

    Its synth.yaml says what its rows and files come from. So where a change is asked for, it is
    replaced, and what was exported is taken away, when the first thing has come of the change: a
    run that stops before that (no server, a wrong model name) leaves the folder as it was. Where
    only more rows are asked for, what was exported stays until it is written with them.
    """

    def __init__(
        self, path: Path, config: dict[str, Any], store: Store, resume_changed: bool
    ) -> None:
        self.path = path
        self.config = config
        self._earlier = _earlier(path, store)
        self._may_change = resume_changed
        self._changes: list[str] = []
        self._grows = False

    def check(self) -> None:
        """Refuse a change that was not asked for. More rows are none: those that are there stay.

        Raises:
            SynthError: says where the configurations differ, and both ways out.
        """
        if self._earlier:
            before, now = _count(self._earlier), _count(self.config)
            self._grows = now > before
            changes = differences(
                _with_new_keys(self._earlier, self.config), self.config, (*NO_CHANGE, COUNT)
            )
            if now < before:
                changes.append(f"{COUNT}: {before} -> {now} takes rows out of the dataset")
            self._note(changes)
        if not self._changes and not self._grows:
            self.config["models"] = self._earlier.get("models", {})
            write_config(self.path, self.config)

    def check_models(self, models: dict[str, dict[str, str]]) -> None:
        """The same, of what the engines know their models by: a folder may hold other weights.

        Raises:
            SynthError: as `check` does.
        """
        before = self._earlier.get("models")
        if before:
            self._note(differences({"models": before}, {"models": models}, ()))
        self.config["models"] = models
        for role in ("target", "generator"):
            was = self._earlier.get("run", {}).get(role, {}).get("base_url")
            now = self.config["run"][role].get("base_url")
            if was and now and was != now:
                log.info("The %s is at another address (%s, before %s) and is taken to be the same "
                         "model: what it answered there stands.", role, now, was)  # fmt: skip

    def begin(self) -> None:
        """The first answer is there: from here on the folder is the new configuration's."""
        if self._changes:
            log.info("The settings have changed: what was exported with the old ones is taken "
                     "away, and made again if they come back.")  # fmt: skip
            delete_exports(self.path)
        elif self._grows:
            log.info("%d rows are wanted, %d were before: those stay as they are.",
                     _count(self.config), _count(self._earlier))  # fmt: skip
        write_config(self.path, self.config)

    def _note(self, changes: list[str]) -> None:
        if changes and not self._may_change:
            raise SynthError(
                f"{self.path} was made with another configuration:\n  " + "\n  ".join(changes),
                "To keep both, give another folder with -o. To go on in this one, add "
                "`--resume changed`: every answer that the change does not touch is kept, the "
                "dataset is made again." + _arguments_cure(changes) + _logprobs_cure(changes),
            )
        self._changes += changes


def as_begun(task: Task, path: Path, store: Store) -> Task:
    """The task with the share of reasons with which a folder was begun, if it names none itself.

    So a folder in which every row has a reason, as all had before there was `reasons.share`, goes
    on as it is.
    """
    reasons = task.config.reasons
    earlier = _earlier(path, store)
    if not earlier or "share" in reasons.model_fields_set:
        return task
    share = (earlier["task"].get("reasons") or {}).get("share", BEFORE_SHARES)
    if share == reasons.share:
        return task
    log.info("The folder was begun with `reasons.share: %g` and goes on with it. For another add, "
             "for example, --set reasons.share=%g --resume changed.",
             share, reasons.share)  # fmt: skip
    begun = reasons.model_copy(update={"share": share})
    return replace(task, config=task.config.model_copy(update={"reasons": begun}))


def _earlier(path: Path, store: Store) -> dict[str, Any]:
    """What a folder's rows come from; {} where there is nothing. A run that came to no answer
    and no row binds nobody."""
    return (read_config(path) if store.answers() or store.row_ids() else None) or {}


def _with_new_keys(config: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """An earlier configuration with the keys of task.yml that its version did not have yet, at what
    was done without them.

    A version without `tools` had no filter of their calls, which does nothing without tools.
    """
    try:
        task = TaskConfig.of_run(config["task"]).model_dump(mode="json")
    except ValidationError:  # it had a key that is gone: a difference to be shown
        return config
    filters = now["task"]["filters"]
    if "tools" not in config["task"] and task["filters"] == [f for f in filters if f != OF_TOOLS]:
        task["filters"] = filters
    return {**config, "task": task}


def _arguments_cure(changes: list[str]) -> str:
    """How a run of an earlier version goes on, which sent the target's arguments to every
    generator."""
    own = ("request_args", "chat_template_kwargs")
    named = [name for name in own if any(c.startswith(f"generator.{name}") for c in changes)]
    options = " and ".join(f"--generator-{name.replace('_', '-')}" for name in named)
    return f" A generator of another name gets its own arguments: {options}." if named else ""


def _logprobs_cure(changes: list[str]) -> str:
    """What it takes to have the likeliest tokens of answers that are there."""
    if not any(change.startswith(f"{LOGPROBS}:") for change in changes):
        return ""
    return (
        " Of answers with the prompt that were kept without the likeliest tokens, or with fewer of "
        "them, they can't be known afterwards: these are asked for again, and nothing else is."
    )


def _count(config: dict[str, Any]) -> int:
    count: int = config["task"].get("inputs", {}).get("count", 0)
    return count
