"""What a forward pass costs by calculation: FLOPs and KV-cache bytes from a model's shapes.

One multiply-add is two FLOPs, and attention is counted as the whole rectangle of queries and keys,
as `torch.utils.flop_counter` does; kernels that skip the masked half do up to half of it. Norms,
rotary embeddings and activations are left out: they are less than a percent.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from genpi_plugin.errors import GenPIError

# The kinds of layers whose cache size is known; that of others (linear attention, state spaces,
# chunked attention) is not.
FULL, SLIDING = "full_attention", "sliding_attention"


class UnknownShapeError(GenPIError):
    """A model whose FLOPs or cache can't be computed from its config and its linear layers."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes that decide the cost of a token.

    `linear` and `adapter` are multiply-adds for each token, `head` and `adapter_head` for each
    position with logits. `windows` has an entry for each layer: tokens of its sliding window, None
    where it attends to everything.
    """

    linear: int
    head: int
    adapter: int
    adapter_head: int
    heads: int
    kv_heads: int
    head_dim: int
    windows: tuple[int | None, ...]
    bytes_per_value: int

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of keys and values of one sequence: layers x KV heads x head size x 2 x bytes.

        A layer with a sliding window keeps no more tokens than its window.
        """
        kept = sum(tokens if window is None else min(tokens, window) for window in self.windows)
        return kept * self.kv_heads * self.head_dim * 2 * self.bytes_per_value

    def flops(self, new: int, cached: int = 0, adapter: bool = False) -> int:
        """FLOPs of a forward pass over `new` tokens after `cached` ones, with logits of the last.

        Args:
            adapter: add the unmerged adapter's matrices.
        """
        per_token = self.linear + (self.adapter if adapter else 0)
        head = self.head + (self.adapter_head if adapter else 0)
        # The cache keeps one token fewer than the window: the new one is the window's last.
        keys = sum(
            new + (cached if window is None else min(cached, window - 1)) for window in self.windows
        )
        attention = 2 * self.heads * self.head_dim * new * keys
        return 2 * (new * per_token + head + attention)

    def decode_flops(self, context: int, tokens: int, adapter: bool = False) -> int:
        """FLOPs of `tokens` decoding steps; the first has `context` tokens before it."""
        steps = range(context, context + tokens)
        return sum(self.flops(1, before, adapter) for before in steps)


def shape_of(model: Any) -> ModelShape:
    """Read a causal LM's shape, PEFT adapter included.

    Raises:
        UnknownShapeError: experts, layers that are not attention, or an adapter that is not plain
            LoRA. An approximate count would look like an exact one.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config.get_text_config()
    for name in ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank"):
        if getattr(config, name, None):
            raise UnknownShapeError(f"the model's config has `{name}`: its FLOPs are not known.")
    heads = config.num_attention_heads
    adapter, adapter_head, peft_modules = _adapter_of(base)
    return ModelShape(
        linear=_linear_of(base.get_decoder(), peft_modules),
        head=config.hidden_size * config.vocab_size,
        adapter=adapter,
        adapter_head=adapter_head,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        windows=_windows_of(config),
        bytes_per_value=base.dtype.itemsize,
    )


def cache_bytes(cache: Any) -> int:
    """Bytes of the tensors that a cache actually holds, all sequences together."""
    return sum(
        tensor.numel() * tensor.element_size()
        for layer in cache.layers
        for tensor in (layer.keys, layer.values)
    )


def flop_counter() -> Any:
    """A context manager that counts a model's FLOPs; `get_total_flops()` gives them afterwards."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    # Attention's CPU kernel is not among the operations that the counter knows.
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={kernel: attention})
    # Counting by module uses hooks on gradients. There are none here, and the hooks fail on a model
    # prepared for training, whose embeddings require gradients.
    counter.mod_tracker = _WholeModel()
    return counter


class _WholeModel(contextlib.AbstractContextManager[None]):
    """Replaces the counter's tracking of modules: the whole model counts as one."""

    parents = frozenset({"Global"})

    def __exit__(self, *_: object) -> None:
        return None


def _windows_of(config: Any) -> tuple[int | None, ...]:
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    count = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or [SLIDING if window else FULL] * count
    if unknown := sorted({*kinds} - {FULL, SLIDING}):
        raise UnknownShapeError(
            f"the model has layers of the kind {', '.join(unknown)}: their cost is not known."
        )
    return tuple(window if kind == SLIDING else None for kind in kinds)


def _linear_of(decoder: Any, left_out: set[int]) -> int:
    from transformers.pytorch_utils import Conv1D

    total = 0
    for module in decoder.modules():
        if id(module) in left_out:
            continue
        if isinstance(module, torch.nn.Linear):
            # Not the weight's own shape: quantized weights are packed.
            total += module.in_features * module.out_features
        elif isinstance(module, Conv1D):
            total += module.weight.numel()
    return total


def _adapter_of(base: Any) -> tuple[int, int, set[int]]:
    """Multiply-adds of the active LoRA matrices (body, head), and which modules are PEFT's own."""
    try:
        from peft.tuners.lora import LoraLayer
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError:  # no adapter without PEFT
        return 0, 0, set()
    body = head = 0
    peft_modules: set[int] = set()
    for module in base.modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        kind = type(module).__name__
        if not isinstance(module, LoraLayer) or kind == "ParamWrapper":
            raise UnknownShapeError(f"the cost of an unmerged {kind} layer is not known.")
        for name in ("lora_A", "lora_B"):
            peft_modules |= {id(part) for part in getattr(module, name).modules()}
        for active in module.active_adapters:
            if active in (getattr(module, "lora_variant", None) or {}):
                raise UnknownShapeError(
                    "the cost of an unmerged variant of LoRA (such as DoRA) is not known."
                )
            if active in module.lora_A:
                cost = module.lora_A[active].weight.numel() + module.lora_B[active].weight.numel()
            elif active in module.lora_embedding_B:
                cost = module.lora_embedding_B[active].numel()  # the other one is looked up
            else:
                continue
            if module is base.get_output_embeddings():
                head += cost
            else:
                body += cost
    return body, head, peft_modules
