"""axolotl's dataset type `genpi_plugin.strategy`: rows in, pairs of halves out.

A thin layer over `rows.py` and `examples.py`: it reads, refuses and counts rows.
"""

from __future__ import annotations

import json
from textwrap import shorten
from typing import Any

from axolotl.prompt_tokenizers import DatasetWrappingStrategy
from axolotl.utils.logging import get_logger
from datasets import Dataset

from genpi_plugin.args import GenPISettings, parse_settings
from genpi_plugin.checks import is_loaded
from genpi_plugin.data import notes
from genpi_plugin.data.all_rows import parse_all
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import (
    BEHAVIOUR_SEQUENCES,
    LENGTHS,
    SUPERVISED,
    keeps_prompt,
    make_pair,
)
from genpi_plugin.data.made import other_request, template_arguments
from genpi_plugin.data.prepared import describe_prompts, record_prompts
from genpi_plugin.data.prompt_generation import Recited
from genpi_plugin.data.prompts_apart import shared_requests
from genpi_plugin.data.recitals import recited_by_row
from genpi_plugin.data.rows import Row, parse
from genpi_plugin.data.shares import named_prompts, unrecited
from genpi_plugin.errors import ConfigError, SequenceLengthError, plain_exit
from genpi_plugin.keeping.prompt import is_noted, record_prompt

LOG = get_logger("axolotl.genpi")
# Below this many rows a process, starting processes costs more than it saves.
ROWS_PER_PROCESS = 500


class GenPIStrategy(DatasetWrappingStrategy):
    """Checks every row, then tokenizes all of them; never truncates one."""

    def __init__(
        self,
        view: ChatView,
        settings: GenPISettings,
        sequence_len: int,
        name: str,
        prepared_path: str | None,
        notes_prompt: bool = False,
        vocabulary: int | None = None,
        use: str = "all",
    ) -> None:
        """
        Args:
            notes_prompt: the rows' prompt is noted for requests to keep.
            vocabulary: the number of tokens that the model tells apart.
            use: what the rows are of all that is read (`notes.untold_answers`).
        """
        self.view = view
        self.settings = settings
        self.sequence_len = sequence_len
        self.name = name
        self.prepared_path = prepared_path
        self.notes_prompt = notes_prompt
        self.vocabulary = vocabulary
        self.use = use

    def wrap_dataset(
        self,
        dataset: Dataset,
        process_count: int | None = None,
        keep_in_memory: bool | None = False,
        **_: Any,
    ) -> Dataset:
        """Rows of contract 1 -> columns of `Pair.columns`, in the same order.

        Exits with a message and status 1 for a bad row, template or length.
        """
        with plain_exit():
            rows = self._check_rows(dataset)
            recited = self._recited(rows)
            for note in self.view.notes():
                LOG.warning(f"genpi: {note}")
            pairs = dataset.map(
                self._tokenize,
                with_indices=True,
                fn_kwargs={"recited": recited},
                remove_columns=dataset.column_names,
                num_proc=self._processes(len(dataset), process_count),
                load_from_cache_file=False,
                keep_in_memory=bool(keep_in_memory),
                desc="Tokenizing pairs",
            )
            return self._fit(self._trained(pairs))

    def _row(self, raw: dict[str, Any], index: int) -> Row:
        return parse(raw, f"{self.name}, row {index}")

    def _check_rows(self, dataset: Dataset) -> list[Row]:
        if len(dataset) == 0:
            raise ConfigError(
                f"{self.name} has no rows.", "make a dataset with `python -m synth run`."
            )
        rows = parse_all(dataset, self.name)
        if self.prepared_path:
            record_prompts(self.prepared_path, describe_prompts(rows))
            if self.notes_prompt:
                record_prompt(self.prepared_path, rows)
        for note in [*notes.other_answers(rows, self.name), *self._of_distributions(rows)]:
            LOG.warning(f"genpi: {note}")
        self._warn_of_shared_requests(rows)
        self._warn_of_other_arguments(rows[0])
        for note in notes.unseen_values(rows, self.settings, self.name):
            LOG.warning(f"genpi: {note}")
        return rows

    def _of_distributions(self, rows: list[Row]) -> list[str]:
        if self.settings.learns_from_rows:
            weight = self.settings.label_weight
            return notes.untold_answers(rows, self.name, self.use, weight)
        for note in notes.unused_distributions(rows, self.name):
            LOG.info(f"genpi: {note}")
        return []

    def _warn_of_other_arguments(self, row: Row) -> None:
        """Answers are trained after another request than they were given to."""
        made = template_arguments(self.name)
        if made is not None and other_request(self.view, made, row.student_request):
            LOG.warning(
                f"genpi: the answers in {self.name} were made with `chat_template_kwargs: "
                f"{json.dumps(made)}`, and requests are trained with "
                f"{json.dumps(self.view.rendering.kwargs)}, which makes others of them. Set those "
                "of the answers at the top of the YAML, and serve the adapter with them."
            )

    def _warn_of_shared_requests(self, rows: list[Row]) -> None:
        blind = [row for row in rows if not keeps_prompt(row, self.settings)]
        names = sorted({row.prompt_id for row in blind})
        if len(names) > 1:
            LOG.info(
                f"genpi: {len(names)} prompts ({', '.join(names)}) in {self.name}, to be told "
                "apart by the requests alone"
            )
        shared = shared_requests(self.prepared_path, blind)
        if shared:
            request, prompts = shared[0]
            LOG.warning(
                f"genpi: {len(shared)} of {len(rows)} requests in {self.name} stand under several "
                "prompts, and the student sees none of them: it can't tell which answer is meant "
                f"and learns a mixture. For example {shorten(request, 80)!r}, under "
                f"{' and '.join(prompts)}. "
                "Train an adapter for each prompt, or have each request say which one it is for."
            )

    def _recited(self, rows: list[Row]) -> dict[int, list[Recited]]:
        """What the rows recite; says where that is less than was asked for, and of prompts in
        pieces how many pieces there are."""
        if not self.settings.trains_prompt_generation:
            return {}
        share, size = self.settings.prompt_generation_share, self.settings.prompt_generation_piece
        found = recited_by_row(rows, share, self.view, size)
        if not found and not self.settings.trains_behaviour:
            raise ConfigError(
                f"no row of {self.name} has both a `floor_output` and a `reason`, and `genpi:` "
                "trains on recitals alone.",
                "make the dataset with `reasons: {share: 1}` in task.yml, or train on the "
                "teacher's answers: `sft_weight: 0.7`.",
            )
        recitals = sum(len(recited) for recited in found.values())
        silent = unrecited(rows, set(found))
        if silent:
            LOG.warning(
                f"genpi: no row of {self.name} recites {named_prompts(silent)}: none has both a "
                "`floor_output` and a `reason`. `reasons: {share: ...}` in task.yml makes some; "
                "`prompt_generation_share: 0` trains without recitals."
            )
        # Which rows are given a reason is drawn, and some reasons are lost: a few less are no news.
        elif recitals + 3 < share * len(rows) * 2 / 3:
            LOG.warning(
                f"genpi: {len(rows)} rows of {self.name} have {recitals} recitals of the prompt, "
                f"not the share of {share:g} that `prompt_generation_share` asks for: too few have "
                "a reason. `reasons: {share: ...}` in task.yml makes more."
            )
        self._say_pieces(rows, found)
        return found

    def _say_pieces(self, rows: list[Row], found: dict[int, list[Recited]]) -> None:
        by_prompt: dict[str, list[Recited]] = {}
        for place, pieces in found.items():
            by_prompt.setdefault(rows[place].prompt_id, []).extend(pieces)
        for name, pieces in by_prompt.items():
            if pieces[0].piece:
                count = len(set(pieces))
                LOG.info(
                    f"genpi: the prompt {name} is recited in {count} pieces of at most "
                    f"{self.settings.prompt_generation_piece} tokens, by {len(pieces)} recitals in "
                    f"{self.name}: each piece {len(pieces) / count:.3g} times an epoch"
                )

    def _tokenize(
        self, raw: dict[str, Any], index: int, recited: dict[int, list[Recited]]
    ) -> dict[str, Any]:
        row = self._row(raw, index)
        recitals = recited.get(index, ())
        return make_pair(row, self.view, self.settings, recitals, self.vocabulary).columns()

    def _trained(self, pairs: Dataset) -> Dataset:
        """Without the rows that nothing is trained on: those that don't recite, where recitals are
        all there is."""
        if self.settings.trains_behaviour:
            return pairs
        kept = [index for index, lengths in enumerate(pairs[LENGTHS]) if lengths]
        LOG.info(f"genpi: {len(kept)} of {len(pairs)} rows of {self.name} recite; no others are "
                 "trained on (sft_weight: 0).")  # fmt: skip
        return pairs.select(kept)

    def _processes(self, rows: int, allowed: int | None) -> int | None:
        wanted = min(allowed or 1, rows // ROWS_PER_PROCESS)
        return wanted if wanted > 1 else None

    def _fit(self, pairs: Dataset) -> Dataset:
        sizes = [sum(lengths) for lengths in pairs[LENGTHS]]
        fitting = [index for index, size in enumerate(sizes) if size <= self.sequence_len]
        over = len(sizes) - len(fitting)
        if not over:
            return pairs
        longest = max(range(len(sizes)), key=sizes.__getitem__)
        if self.settings.on_overflow == "error" or not fitting:
            raise SequenceLengthError(
                f"{over} of {len(sizes)} pairs of {self.name} are longer than `sequence_len: "
                f"{self.sequence_len}`. The longest is row {longest}: {sizes[longest]} tokens, "
                + self._parts(pairs[longest]),
                f"set `sequence_len: {sizes[longest]}` or more (nothing is ever truncated), "
                + self._shorter(pairs[longest])
                + "or `genpi: {on_overflow: drop}` to train without those rows.",
            )
        recitals = [counts[1] > 0 for counts in pairs[SUPERVISED]]
        lost = sum(recitals) - sum(recitals[index] for index in fitting)
        LOG.warning(
            f"genpi: dropped {over} of {len(sizes)} pairs of {self.name} that are longer than "
            f"sequence_len {self.sequence_len} (genpi.on_overflow: drop), {lost} of the "
            f"{sum(recitals)} that recite among them; sequence_len {sizes[longest]} would keep all."
        )
        return pairs.select(fitting)

    def _shorter(self, pair: dict[str, Any]) -> str:
        """A cure where the pair recites a whole prompt."""
        piece = GenPISettings.model_fields["prompt_generation_piece"].default
        if self.settings.prompt_generation_piece or pair[SUPERVISED][1] <= piece:
            return ""
        return f"`genpi: {{prompt_generation_piece: {piece}}}` to recite it in pieces, "

    def _parts(self, pair: dict[str, Any]) -> str:
        count = pair[BEHAVIOUR_SEQUENCES][0]
        behaviour, generation = sum(pair[LENGTHS][:count]), sum(pair[LENGTHS][count:])
        return f"{behaviour} in the behaviour half and {generation} in the prompt-generation half."


def load(tokenizer: Any, cfg: Any, ds_cfg: Any | None = None) -> GenPIStrategy:
    """What axolotl calls for `type: genpi_plugin.strategy`."""
    entry = ds_cfg or {}
    with plain_exit():
        if not is_loaded(cfg):
            raise ConfigError(
                "the dataset type `genpi_plugin.strategy` needs its plugin.",
                "add to the YAML:\n    plugins:\n      - genpi_plugin.GenPIPlugin\n    genpi: {}",
            )
        if cfg.get("genpi") is None:
            raise ConfigError(
                "the dataset type `genpi_plugin.strategy` needs a `genpi:` block.",
                "add `genpi: {}` to the YAML for the defaults.",
            )
        kwargs = {
            **(cfg.get("chat_template_kwargs") or {}),
            **(entry.get("chat_template_kwargs") or {}),
        }
        settings = parse_settings(dict(cfg["genpi"]))
        return GenPIStrategy(
            view=ChatView(tokenizer, kwargs),
            settings=settings,
            sequence_len=int(cfg["sequence_len"]),
            name=str(entry.get("path") or "the dataset"),
            prepared_path=cfg.get("dataset_prepared_path"),
            notes_prompt=is_noted(cfg, entry),
            vocabulary=_vocabulary(tokenizer, cfg) if settings.learns_from_rows else None,
            use=notes.use_of(cfg, entry),
        )


def _vocabulary(tokenizer: Any, cfg: Any) -> int:
    """The number of tokens that the model tells apart: often some more than its tokenizer has."""
    if not cfg.get("base_model") or cfg.get("shrink_embeddings"):
        return len(tokenizer)
    from axolotl.loaders.utils import load_model_config

    config = load_model_config(cfg).get_text_config()
    return max(len(tokenizer), int(config.vocab_size))
