"""What a model wrote beside its training: answers to requests, kept on disk as token ids.

An answer's key is made of everything that it depends on beside the model, and the folder is one of
that model. So later runs, resumed ones and runs with other requests find what is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from genpi_plugin.data import digests
from genpi_plugin.data.whole_files import write_whole
from genpi_plugin.errors import GenPIError
from genpi_plugin.reading.generation import BATCH, sampled
from genpi_plugin.teacher.teacher import teaching

# Increase when the same model and requests would give other answers.
ANSWERS_VERSION = 1


class Writer:
    """The model as it writes: how long, up to which tokens, and where that is kept."""

    def __init__(
        self,
        folder: Path,
        end_ids: Sequence[int],
        pad_id: int,
        seed: int,
        with_adapter: bool,
        token_budget: int,
    ) -> None:
        """
        Args:
            folder: of what this model has written.
            end_ids: tokens that end an answer.
            with_adapter: the adapter is on.
            token_budget: tokens that a call holds in its cache; a longer row gets one of its own.
        """
        self.token_budget = token_budget
        self.folder = folder
        self.end_ids = sorted(end_ids)
        self.pad_id = pad_id
        self.seed = seed
        self.with_adapter = with_adapter

    def key(self, request: Sequence[int], limit: int, number: int = 0) -> str:
        """The name of an answer.

        Args:
            limit: its tokens at most.
            number: which of several answers to one request it is.
        """
        facts = [ANSWERS_VERSION, list(request), limit, number, self.end_ids, self.seed]
        return digests.of(facts)

    def write(
        self,
        model: Any,
        requests: Mapping[str, list[int]],
        limit: int,
        accelerator: Any,
        step: int,
        what: str,
    ) -> dict[str, list[int]]:
        """Answers by their key: those that are there, and those that are written now.

        Every rank must call, and each writes its share.

        Args:
            model: the model in training, not wrapped.
            requests: token ids by the answer's key.
            step: how many steps the adapter has been trained.
            what: is written, for messages.

        Raises:
            GenPIError: answers are missing that only the adapter before its first step could give,
                or those of another process are not visible here.
        """
        keys = sorted(requests)
        missing = {key for key in keys if not self._path(key).is_file()}
        if missing and self.with_adapter and step:
            raise GenPIError(
                f"{len(missing)} of {len(keys)} {what} are missing, and the adapter that would "
                f"write them has been trained for {step} steps (`genpi.teacher: start`).",
                "resume with the settings and the `dataset_prepared_path` that training started "
                "with, or start anew.",
            )
        share = keys[accelerator.process_index :: accelerator.num_processes]
        mine = [key for key in share if key in missing]
        if mine:
            self._sample(model, {key: requests[key] for key in mine}, limit, what,
                         accelerator.is_local_main_process)  # fmt: skip
        accelerator.wait_for_everyone()
        absent = sum(not self._path(key).is_file() for key in keys)
        if absent:
            raise GenPIError(
                f"{absent} of {len(keys)} {what} are not in {self.folder}.",
                "set `dataset_prepared_path` to a folder that all nodes share.",
            )
        return {key: json.loads(self._path(key).read_text()) for key in keys}

    def _sample(
        self, model: Any, requests: Mapping[str, list[int]], limit: int, what: str, shown: bool
    ) -> None:
        keys = list(requests)
        longest = max(map(len, requests.values())) + limit
        with tqdm(total=len(keys), desc=f"Writing {what}", leave=False, disable=not shown) as bar:

            def done(place: int, ids: list[int]) -> None:
                self._put(keys[place], ids)
                bar.update(1)

            with teaching(model, self.with_adapter):
                sampled(
                    model,
                    list(requests.values()),
                    keys,
                    limit,
                    self.end_ids,
                    self.pad_id,
                    batch_size=max(1, min(BATCH, self.token_budget // longest)),
                    done=done,
                )

    def _put(self, key: str, ids: Sequence[int]) -> None:
        written = json.dumps(list(ids))
        write_whole(self._path(key), lambda path: path.write_text(written))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
