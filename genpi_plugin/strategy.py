"""axolotl's dataset type `genpi_plugin.strategy`: rows in, pairs of halves out.

A thin layer over `rows.py` and `examples.py`: it reads, refuses and counts rows.
"""

from __future__ import annotations

from typing import Any

from axolotl.prompt_tokenizers import DatasetWrappingStrategy
from axolotl.utils.logging import get_logger
from datasets import Dataset

from genpi_plugin.args import GenPISettings, parse_settings
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.examples import BEHAVIOUR_SEQUENCES, LENGTHS, make_pair
from genpi_plugin.data.prepared import describe_prompt, record_prompts
from genpi_plugin.data.rows import Row, parse
from genpi_plugin.errors import ConfigError, SequenceLengthError, plain_exit

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
    ) -> None:
        self.view = view
        self.settings = settings
        self.sequence_len = sequence_len
        self.name = name
        self.prepared_path = prepared_path

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
            self._check_rows(dataset)
            for note in self.view.notes():
                LOG.warning(f"genpi: {note}")
            pairs = dataset.map(
                self._tokenize,
                with_indices=True,
                remove_columns=dataset.column_names,
                num_proc=self._processes(len(dataset), process_count),
                load_from_cache_file=False,
                keep_in_memory=bool(keep_in_memory),
                desc="Tokenizing pairs",
            )
            return self._fit(pairs)

    def _row(self, raw: dict[str, Any], index: int) -> Row:
        return parse(raw, f"{self.name}, row {index}")

    def _check_rows(self, dataset: Dataset) -> None:
        if len(dataset) == 0:
            raise ConfigError(
                f"{self.name} has no rows.", "make a dataset with `python -m synth run`."
            )
        rows = [self._row(raw, index) for index, raw in enumerate(dataset)]
        prompts = {row.prompt_id: describe_prompt(row.prompt_id, row.prompt) for row in rows}
        if self.prepared_path:
            record_prompts(self.prepared_path, prompts.values())

    def _tokenize(self, raw: dict[str, Any], index: int) -> dict[str, Any]:
        return make_pair(self._row(raw, index), index, self.view, self.settings).columns()

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
                f"set `sequence_len: {sizes[longest]}` or more (nothing is ever truncated), or "
                "`genpi: {on_overflow: drop}` to train without those rows.",
            )
        LOG.warning(
            f"genpi: dropped {over} of {len(sizes)} pairs of {self.name} that are longer than "
            f"sequence_len {self.sequence_len} (genpi.on_overflow: drop); "
            f"sequence_len {sizes[longest]} would keep all."
        )
        return pairs.select(fitting)

    def _parts(self, pair: dict[str, Any]) -> str:
        count = pair[BEHAVIOUR_SEQUENCES][0]
        behaviour, generation = sum(pair[LENGTHS][:count]), sum(pair[LENGTHS][count:])
        return f"{behaviour} in the behaviour half and {generation} in the prompt-generation half."


def load(tokenizer: Any, cfg: Any, ds_cfg: Any | None = None) -> GenPIStrategy:
    """What axolotl calls for `type: genpi_plugin.strategy`."""
    entry = ds_cfg or {}
    with plain_exit():
        if "genpi_plugin.GenPIPlugin" not in (cfg.get("plugins") or []):
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
        return GenPIStrategy(
            view=ChatView(tokenizer, kwargs),
            settings=parse_settings(dict(cfg["genpi"])),
            sequence_len=int(cfg["sequence_len"]),
            name=str(entry.get("path") or "the dataset"),
            prepared_path=cfg.get("dataset_prepared_path"),
        )
