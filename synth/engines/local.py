"""A causal language model in this process: loading, rendering, and decoding by the slice."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.cache_utils import DynamicLayer
from transformers.utils.logging import disable_progress_bar

from synth.engines import shared_prefix
from synth.engines.base import Answer, Request
from synth.engines.sampling import SeededSampler, row_random
from synth.engines.weights import cannot_load
from synth.errors import EngineError

# Tokens after which ended rows leave their batch at the latest, and new ones may come in.
SLICE = 32
# Caches of prefixes kept at once: the teacher's, the generator's, and those on the way to them.
KEPT_PREFIXES = 4


@dataclass(eq=False)
class Row:
    """A request on its way: `ids` to read, up to `limit` tokens to write, `tokens` so far."""

    request: Request
    ids: list[int]
    limit: int
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = row_random(self.request)


@dataclass(eq=False)
class Batch:
    """Rows that are decoded together: [prefix | padding | the row's own] in each.

    `ids` and `mask` are (rows, tokens). `cache` holds what has been read and, where `prefix` is
    not 0, reads the prefix from one copy.
    """

    rows: list[Row]
    prefix: int
    ids: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache

    def begins_like(self, head: list[int], width: int) -> bool:
        """Whether rows of that prefix and width can join, without much padding for either."""
        narrow, wide = sorted((self.ids.shape[1] - self.prefix, width))
        return (
            self.prefix == len(head)
            and wide <= 2 * narrow + 256
            and self.ids[0, : self.prefix].tolist() == head
        )

    def keep(self, places: list[int]) -> None:
        """Go on with these rows alone, without columns that are padding in all of them."""
        index = torch.tensor(places, device=self.ids.device)
        self.rows = [self.rows[place] for place in places]
        self.ids, self.mask = self.ids[index], self.mask[index]
        self.cache.batch_select_indices(index)
        empty = int(self.mask[:, self.prefix :].any(0).int().argmax())
        if empty:
            self.ids = _without(self.ids, self.prefix, empty)
            self.mask = _without(self.mask, self.prefix, empty)
            for layer in self.cache.layers:
                layer.keys, layer.values = layer.keys[:, :, empty:], layer.values[:, :, empty:]

    def join(self, other: Batch, pad_id: int) -> None:
        """Take over the rows of a batch with the same prefix; the narrower one is padded."""
        width = max(self.ids.shape[1], other.ids.shape[1])
        both = (self, other)
        self.ids = torch.cat([_widened(b.ids, b.prefix, width, pad_id) for b in both])
        self.mask = torch.cat([_widened(b.mask, b.prefix, width, 0) for b in both])
        for mine, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            mine.keys = _stacked(mine.keys, theirs.keys)
            mine.values = _stacked(mine.values, theirs.values)
        self.rows = self.rows + other.rows


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
        self.template_kwargs = template_kwargs
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = resolve_dtype(dtype)
        folder = Path(name).expanduser()
        path = str(folder) if folder.is_dir() else name
        disable_progress_bar()  # it would run through the caller's own
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            self.model = AutoModelForCausalLM.from_pretrained(path, dtype=self.dtype)
        except (OSError, ValueError) as error:
            raise cannot_load(name, error) from error
        if not self.tokenizer.chat_template:
            raise EngineError(
                f"The tokenizer of {name} has no chat template.",
                "Use an instruction-tuned model, or put its template into the model's folder "
                "as chat_template.jinja.",
            )
        self.model.to(self.device).eval()
        self.end_ids = self._find_end_ids()
        # Only the request shapes an answer, nothing that the model's folder recommends.
        self.model.generation_config = GenerationConfig()
        pad = self.tokenizer.pad_token_id
        self.pad_id = self.end_ids[0] if pad is None else pad
        config = self.model.config.get_text_config()
        self.context: int = getattr(config, "max_position_embeddings", None) or 2**31
        # Sliding windows would count the padding; recurrent layers can't be cut into rows.
        self.sliceable = all(type(layer) is DynamicLayer for layer in self._new_cache().layers)
        self.shares = self.sliceable and shared_prefix.enable(self.model)
        self._prefixes: OrderedDict[tuple[int, ...], DynamicCache] = OrderedDict()

    def render(self, request: Request) -> list[int]:
        """The request's token ids, up to where the answer begins.

        Raises:
            jinja2.TemplateError: the chat template does not take these messages.
        """
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        rendered = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, **self.template_kwargs
        )
        return list(rendered["input_ids"])

    def known_prefixes(self, ids: list[int]) -> list[int]:
        """Lengths of the kept prefixes that `ids` begins with."""
        return [len(p) for p in self._prefixes if len(p) < len(ids) and tuple(ids[: len(p)]) == p]

    def bytes_per_token(self) -> int:
        """What one token takes in the cache."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return 2 * config.num_hidden_layers * heads * size * self.dtype.itemsize

    @torch.inference_mode()
    def start(self, rows: list[Row], prefix: int) -> Batch:
        """A batch of rows that share their first `prefix` tokens; the rest is yet to be read."""
        width = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            own = len(row.ids) - prefix
            ids[place, :prefix] = torch.tensor(row.ids[:prefix])
            ids[place, width - own :] = torch.tensor(row.ids[prefix:])
            mask[place, :prefix] = 1
            mask[place, width - own :] = 1
        cache = self._new_cache()
        if prefix:
            cache = shared_prefix.share(self._prefix_cache(rows[0].ids[:prefix]))
        return Batch(rows, prefix, ids.to(self.device), mask.to(self.device), cache)

    @torch.inference_mode()
    def advance(self, batch: Batch, most: int, stop: Callable[[], bool]) -> list[Row]:
        """Write up to `most` tokens in each row, fewer once several rows have ended.

        Returns:
            The rows that have ended. They are out of the batch.
        """
        room = [row.limit - len(row.tokens) for row in batch.rows]
        # A batch that can't be cut into rows goes to its end at once.
        step = min(most, *room) if self.sliceable else max(room)
        enough = 1 + len(batch.rows) // 8 if self.sliceable else len(batch.rows)
        sampler = SeededSampler(
            [row.request.sampling for row in batch.rows], [row.random for row in batch.rows]
        )
        sequences = self.model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            past_key_values=batch.cache,
            logits_processor=LogitsProcessorList([sampler]),
            stopping_criteria=StoppingCriteriaList([_Enough(self.end_ids, enough, stop)]),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=step,
                eos_token_id=self.end_ids,
                pad_token_id=self.pad_id,
            ),
        )
        new = sequences[:, batch.ids.shape[1] :]
        for row, tokens in zip(batch.rows, new.tolist(), strict=True):
            tokens = tokens[: row.limit - len(row.tokens)]
            end = next((at for at, token in enumerate(tokens) if token in self.end_ids), None)
            row.ended = end is not None
            row.tokens += tokens[:end]
        over = [row for row in batch.rows if row.ended or len(row.tokens) >= row.limit]
        if len(over) == len(batch.rows) or not self.sliceable:
            batch.rows = []
            return over
        batch.ids = sequences
        batch.mask = torch.cat([batch.mask, torch.ones_like(new)], dim=1)
        if over:
            gone = set(map(id, over))
            batch.keep([at for at, row in enumerate(batch.rows) if id(row) not in gone])
        return over

    def answer_of(self, row: Row) -> Answer:
        """The answer that an ended row holds."""
        text = self.tokenizer.decode(
            row.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        finish = "stop" if row.ended else "length"
        return Answer(text, finish, len(row.ids), len(row.tokens))  # type: ignore[arg-type]

    def _new_cache(self) -> DynamicCache:
        return DynamicCache(config=self.model.config)

    def _prefix_cache(self, ids: list[int]) -> DynamicCache:
        """The cache of a prefix: kept, or read now, going on from the longest kept part of it."""
        key = tuple(ids)
        if key not in self._prefixes:
            start = max(self.known_prefixes(ids), default=0)
            known = self._prefixes[key[:start]] if start else self._new_cache()
            cache = shared_prefix.copied(known)
            new = torch.tensor([ids[start:]], device=self.device)
            self.model.base_model(input_ids=new, past_key_values=cache, use_cache=True)
            self._prefixes[key] = cache
            if len(self._prefixes) > KEPT_PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        return self._prefixes[key]

    def _find_end_ids(self) -> list[int]:
        """Every token that ends an answer: the folder's, the tokenizer's, the template's."""
        configured = self.model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        ends = [*ends, self.tokenizer.eos_token_id, self._turn_end_id()]
        return list(dict.fromkeys(end for end in ends if end is not None))

    def _turn_end_id(self) -> int | None:
        """The special token that the chat template puts right after an assistant turn."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "marker"}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, **self.template_kwargs)
        after = text.rpartition("marker")[2].lstrip()
        ids = self.tokenizer.encode(after, add_special_tokens=False)
        known = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        return ids[0] if ids and ids[0] in known else None


class _Enough(StoppingCriteria):
    """Ends a slice when `enough` rows have ended, or when `stop()` says so."""

    def __init__(self, end_ids: list[int], enough: int, stop: Callable[[], bool]) -> None:
        self.end_ids = torch.tensor(end_ids)
        self.enough = enough
        self.stop = stop
        self.ended: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        ends = torch.isin(input_ids[:, -1], self.end_ids.to(input_ids.device))
        self.ended = ends if self.ended is None else self.ended | ends
        over = int(self.ended.sum()) >= self.enough or self.stop()
        return torch.full_like(self.ended, over)


def resolve_dtype(name: str) -> torch.dtype:
    """The dtype of a name in torch; "auto" is bfloat16 where the hardware has it.

    Raises:
        EngineError: torch has no such dtype.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        cpu = Path("/proc/cpuinfo")
        fast = cpu.exists() and "avx512_bf16" in cpu.read_text(encoding="utf-8")
        return torch.bfloat16 if fast else torch.float32
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise EngineError(
            f"There is no dtype {name!r} for a model.", "Use auto, bfloat16, float16 or float32."
        )
    return dtype


def _without(tensor: torch.Tensor, start: int, count: int) -> torch.Tensor:
    """(rows, tokens) without the columns start .. start + count."""
    return torch.cat([tensor[:, :start], tensor[:, start + count :]], dim=1)


def _widened(tensor: torch.Tensor, prefix: int, width: int, fill: int) -> torch.Tensor:
    """(rows, tokens) with `fill` behind the prefix, up to `width` tokens."""
    pad = tensor.new_full((len(tensor), width - tensor.shape[1]), fill)
    return torch.cat([tensor[:, :prefix], pad, tensor[:, prefix:]], dim=1)


def _stacked(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Two (rows, heads, tokens, dim) on top of each other, the shorter padded in front."""
    width = max(mine.shape[2], theirs.shape[2])
    padded = [
        torch.nn.functional.pad(tensor, (0, 0, width - tensor.shape[2], 0))
        for tensor in (mine, theirs)
    ]
    return torch.cat(padded)
