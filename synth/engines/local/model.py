"""A causal language model in this process: loading, rendering, and decoding by the slice."""

from __future__ import annotations

import gc
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.utils.logging import disable_progress_bar

from genpi_plugin.data import tokenizers
from genpi_plugin.reading.capabilities import begin, generating_together, split
from genpi_plugin.reading.context import context_of
from genpi_plugin.reading.head import take_states_whole
from genpi_plugin.reading.trials import rope_switch
from synth.engines.base import Answer, Request, Usage
from synth.engines.chat import Chat, answer_text, check_template
from synth.engines.local.batch import Batch, Prefix, Row
from synth.engines.local.device import device_type, free_bytes, resolve_dtype, total_bytes
from synth.engines.local.grouping import shared_prefix as shared_beginning
from synth.engines.local.likeliest import note_likeliest, tops_of
from synth.engines.local.probes import bytes_per_token, enable_sharing
from synth.engines.local.sampling import next_tokens
from synth.engines.weights import cannot_load, too_large

# Tokens after which ended rows leave the batch at the latest, and new ones may come in.
SLICE = 32
# Beginnings kept at once: the teacher's, the reasons', the environment's, the inputs', and those on
# the way to them.
KEPT_PREFIXES = 8
# Of the device's memory, that kept beginnings may take.
PREFIX_SHARE = 0.2
# A part of a kept beginning is taken in multiples of so many tokens, see `_usable`.
GRAIN = 32
# How requests stand in the calls of `generate`.
BATCHES = {
    "padded": "in whole batches",
    "equal": "with others of its length",
    "alone": "row by row",
}
log = logging.getLogger("synth")


class LocalModel:
    """Tokenizer and model of a folder or a hub name.

    Args:
        name: the folder or hub name.
        dtype: see `resolve_dtype`.
        template_kwargs: passed to the chat template, for example `{"enable_thinking": False}`.

    Raises:
        EngineError: no such model, no chat template, no such dtype.
    """

    def __init__(self, name: str, dtype: str, template_kwargs: dict[str, Any]) -> None:
        self.name = name
        self.template_kwargs = template_kwargs
        self.device = torch.device(device_type())
        self.dtype = resolve_dtype(dtype)
        folder = Path(name).expanduser()
        path = str(folder) if folder.is_dir() else name
        disable_progress_bar()  # it would run through the caller's own
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            check_template(self.tokenizer, name)
            self.model = AutoModelForCausalLM.from_pretrained(path, dtype=self.dtype)
            self.model.to(self.device).eval()
            take_states_whole(self.model)
        except torch.OutOfMemoryError as error:
            raise too_large(name, error) from error
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise cannot_load(name, error) from error
        self.chat = Chat(self.tokenizer, template_kwargs, name)
        if note := self.chat.date_note():
            log.warning(note)
        self.tokenizer_mark = tokenizers.mark(self.tokenizer)
        self.end_ids = self.chat.end_ids(self.model.generation_config.eos_token_id)
        # Only the request shapes an answer, nothing that the model's folder recommends.
        self.model.generation_config = GenerationConfig()
        pad = self.tokenizer.pad_token_id
        self.pad_id = self.end_ids[0] if pad is None else pad
        config = self.model.config.get_text_config()
        self.context: int = context_of(config) or 2**31
        self.vocabulary: int = config.vocab_size
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self.bytes_per_token = bytes_per_token(self.model, self.pad_id)
        self.rope_switch = rope_switch(config)
        self.shares = not self.rope_switch and enable_sharing(self.model, self._read)
        self._prefixes.clear()
        self.together = "padded" if self.shares else generating_together(self.model)
        if not self.shares:
            log.info(
                "%s (%s) is answered by plain `generate`, %s and with the prompt read for every "
                "row: its attention or cache is not one that rows can share.",
                name, config.model_type, BATCHES[self.together],
            )  # fmt: skip

    def render(self, request: Request) -> list[int]:
        """The request's token ids; see `Chat.request_ids`."""
        return self.chat.request_ids(request)

    def known_prefixes(self, ids: list[int]) -> list[int]:
        """How much of the beginning of `ids` has been read, by each beginning that is kept."""
        key = tuple(ids[:-1])
        return [_usable(kept, key) for kept in self._prefixes]

    def free_bytes(self) -> int:
        """Memory that is left on the model's device."""
        return free_bytes(self.device)

    def free_memory(self) -> None:
        """Let go of the beginnings that are kept, and of what the allocator holds."""
        self._prefixes.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def start(self, rows: Sequence[Row], prefix: int) -> Batch:
        """Read rows that share their first `prefix` tokens, and write the first token of each."""
        batch, scores = self._read(rows, prefix)
        self._write(batch, scores)
        return batch

    @torch.inference_mode()
    def advance(self, batch: Batch, most: int, stop: Callable[[], bool]) -> None:
        """Write up to `most` tokens in each row, fewer once several rows are over, or on `stop`."""
        for _ in range(most):
            if batch.over() > len(batch.rows) // 8 or stop():
                return
            ids = [[row.tokens[-1] if row.tokens else self.pad_id] for row in batch.rows]
            positions = [[position] for position in batch.positions()]
            seen = torch.arange(batch.used + 1) >= torch.tensor(batch.first)[:, None]
            scores = self._forward(batch, ids, torch.tensor(positions), seen[:, None, None])
            self._write(batch, scores)

    def answer_plainly(self, rows: Sequence[Row], stop: Callable[[], bool]) -> None:
        """Write all tokens of these rows by `generate`, for models whose cache can't be shared."""
        lengths = [len(row.ids) + row.limit for row in rows]
        written = [row.limit for row in rows]
        for places in split(self.model, lengths, self.together, written):
            begin(self.model, max(lengths[place] for place in places))
            self._generate([rows[place] for place in places], stop)

    def _generate(self, rows: Sequence[Row], stop: Callable[[], bool]) -> None:
        width = max(len(row.ids) for row in rows)
        ids = torch.tensor([[self.pad_id] * (width - len(row.ids)) + row.ids for row in rows])
        first = torch.tensor([[width - len(row.ids)] for row in rows])
        sequences = self.model.generate(
            input_ids=ids.to(self.device),
            attention_mask=(torch.arange(width) >= first).long().to(self.device),
            logits_processor=LogitsProcessorList([_OwnDraws(rows)]),
            stopping_criteria=StoppingCriteriaList([_Stopped(stop)]),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(row.limit for row in rows),
                eos_token_id=self.end_ids,
                pad_token_id=self.pad_id,
            ),
        )
        for row, tokens in zip(rows, sequences[:, width:].tolist(), strict=True):
            for token in tokens:
                self.add_token(row, token)

    def answer_of(self, row: Row) -> Answer:
        """The answer that a row holds."""
        end = () if row.end is None else (row.end,)
        return Answer(
            text=answer_text(self.tokenizer, row.ids, row.tokens),
            finish="stop" if row.ended else "length",
            token_ids=(*row.tokens, *end),
            tokenizer=self.tokenizer_mark,
            tops=tops_of(row, len(row.tokens) + len(end)),
            usage=Usage(len(row.ids), len(row.tokens)),
        )

    def _read(self, rows: Sequence[Row], prefix: int) -> tuple[Batch, torch.Tensor]:
        """A new batch, padded on the left, and the scores (rows, vocabulary) of what comes next."""
        known = self._prefix(rows[0].ids[:prefix]) if prefix else None
        for row in rows:
            row.prefix = known
        own = [row.ids[prefix:] for row in rows]
        width = max(map(len, own))
        ids = [[self.pad_id] * (width - len(tail)) + tail for tail in own]
        batch = Batch(rows, [width - len(tail) for tail in own], len(self._new_cache().layers))
        first, columns = torch.tensor(batch.first)[:, None], torch.arange(width)
        seen = (columns >= first)[:, None] & (columns[:, None] >= columns)
        # Padding sees itself: a softmax over nothing would be no number.
        seen |= torch.eye(width, dtype=torch.bool)
        positions = (columns - first).clamp(min=0) + prefix
        return batch, self._forward(batch, ids, positions, seen[:, None])

    def _forward(
        self, batch: Batch, ids: list[list[int]], positions: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        out = self.model(
            input_ids=torch.tensor(ids, device=self.device),
            position_ids=positions.to(self.device),
            attention_mask=seen.to(self.device),
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()

    def _write(self, batch: Batch, scores: torch.Tensor) -> None:
        sampling = [row.request.sampling for row in batch.rows]
        note_likeliest(scores, batch.rows)
        tokens = next_tokens(scores, sampling, [row.random for row in batch.rows])
        for row, token in zip(batch.rows, tokens.tolist(), strict=True):
            self.add_token(row, token)

    def add_token(self, row: Row, token: int) -> None:
        """Note a row's next token; a row that is over takes none."""
        if not row.over:
            row.ended = token in self.end_ids
            if row.ended:
                row.end = token
            else:
                row.tokens.append(token)

    def _prefix(self, ids: list[int]) -> Prefix:
        """A beginning: a part of a kept one, or read now, going on from such a part, and kept."""
        key = tuple(ids)
        like = max(self._prefixes, key=lambda kept: _usable(kept, key), default=())
        start = _usable(like, key)
        known = None
        if start:
            self._prefixes.move_to_end(like)
            known = self._prefixes[like].part(start)
            if start == len(ids):
                return known
        cache = known.branch() if known else self._new_cache()
        new = torch.tensor([ids[start:]], device=self.device)
        self.model.base_model(input_ids=new, past_key_values=cache, use_cache=True)
        kept = self._prefixes[key] = Prefix(len(ids), cache)
        while len(self._prefixes) > 1 and self._too_many():
            self._prefixes.popitem(last=False)
        return kept

    def _too_many(self) -> bool:
        held = sum(prefix.tokens for prefix in self._prefixes.values()) * self.bytes_per_token
        return len(self._prefixes) > KEPT_PREFIXES or held > PREFIX_SHARE * total_bytes(self.device)

    def _new_cache(self) -> DynamicCache:
        return DynamicCache(config=self.model.config)


def _usable(kept: tuple[int, ...], ids: tuple[int, ...]) -> int:
    """How many tokens of a kept beginning `ids` can go on from: all, or a multiple of `GRAIN`.

    Two requests have some words in common by accident where the prompt has ended. Without the
    grain, every row would begin with another part.
    """
    common = shared_beginning(kept, ids)
    return common if common == len(kept) else common // GRAIN * GRAIN


class _OwnDraws(LogitsProcessor):
    """Leaves `generate` the token that `next_tokens` chooses."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.sampling = [row.request.sampling for row in rows]
        self.randoms = [row.random for row in rows]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        note_likeliest(scores, self.rows)
        chosen = next_tokens(scores, self.sampling, self.randoms)[:, None]
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)


class _Stopped(StoppingCriteria):
    def __init__(self, stop: Callable[[], bool]) -> None:
        self.stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self.stop(), device=input_ids.device)
