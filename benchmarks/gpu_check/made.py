"""Models and pairs made up for the checks: no download, the same on every machine."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from genpi_plugin.data.chat import TokenSequence
from genpi_plugin.data.examples import Pair

# Heads of 16 dimensions at least, blocks of 64 weights: what flex attention and nf4 take.
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 512}
SMALL = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "vocab_size": 2048,
    "initializer_range": 0.04,
}  # fmt: skip
# Llama 3.2's 1B and Llama 3.1's 8B, in numbers.
SHAPE_1B = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "tie_word_embeddings": True, "initializer_range": 0.02,
}  # fmt: skip
SHAPE_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "initializer_range": 0.02,
}  # fmt: skip


def config_of(shape: dict[str, Any], attention: str = "sdpa") -> LlamaConfig:
    """A Llama's config. Without a shape's own, weights are large enough for attention to matter."""
    few = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.08}
    return LlamaConfig(
        **{**few, **shape},
        max_position_embeddings=8192,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
        attn_implementation=attention,
    )


def base_model(shape: dict[str, Any], seed: int = 0) -> LlamaForCausalLM:
    """A Llama in float32 on the CPU, its weights representable in bfloat16.

    As sure of the next token as a trained model: a few hold most of the probability.
    """
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config_of(shape))
    with torch.no_grad():
        model.lm_head.weight.mul_(4)
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    return model


def with_adapter(base: Any, seed: int = 1, fresh: bool = False) -> Any:
    """The model with LoRA on all linear layers, in training.

    Args:
        fresh: as training starts, where it changes nothing; else as it is after some steps.
    """
    torch.manual_seed(seed)
    lora = LoraConfig(
        r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=fresh, lora_dropout=0.0
    )
    model = get_peft_model(base, lora)
    with torch.no_grad():
        for parameter in trained(model):
            # Representable in bfloat16, too: peft goes through the base's type.
            parameter.copy_((parameter * (1.0 if fresh else 0.2)).bfloat16())
    return model.train()


def grown(shape: dict[str, Any], device: str, dtype: torch.dtype, nf4: bool) -> Any:
    """A model with random weights made layer by layer where it will be, with a fresh adapter.

    A base in nf4 never takes more memory than that and one layer.
    """
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    with _made_in(device, dtype):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config_of({**shape, "num_hidden_layers": 0}))
    model.config.num_hidden_layers = shape["num_hidden_layers"]
    for place in range(shape["num_hidden_layers"]):
        with _made_in(device, dtype):
            layer = LlamaDecoderLayer(model.config, place)
        for name, parameter in layer.named_parameters():
            if "norm" not in name:
                torch.nn.init.normal_(parameter, std=model.config.initializer_range)
        model.model.layers.append(layer.requires_grad_(False))
        if nf4:
            quantized(model, device, dtype)
    return with_adapter(model, fresh=True).to(device)


@contextlib.contextmanager
def _made_in(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Parameters are made on this device, in this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def trained(model: Any) -> list[torch.nn.Parameter]:
    """The adapter's parameters."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def quantized(model: Any, device: str, dtype: torch.dtype) -> Any:
    """The layers' weights in nf4 with double quantization, in place, as a QLoRA's base has them.

    Args:
        device: where they go; quantized one by one, so that the whole need not fit unquantized.
        dtype: in which is multiplied.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit

    for layer in model.model.layers:
        for parent in (layer.self_attn, layer.mlp):
            for name, linear in list(parent.named_children()):
                if not isinstance(linear, torch.nn.Linear) or isinstance(linear, Linear4bit):
                    continue
                new = Linear4bit(linear.in_features, linear.out_features, bias=False,
                                 compute_dtype=dtype, quant_type="nf4", device="meta")  # fmt: skip
                new.weight = Params4bit(
                    linear.weight.data, requires_grad=False, quant_type="nf4",
                    compress_statistics=True,
                ).to(device)  # fmt: skip
                setattr(parent, name, new)
    model.is_loaded_in_4bit = True  # peft looks here
    return model


def dequantized(model: Any, shape: dict[str, Any]) -> LlamaForCausalLM:
    """A dense float32 model of the same numbers as a quantized one."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    dense = LlamaForCausalLM(config_of(shape)).to(model.device)
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            parameter.copy_(theirs[name] if theirs[name].shape == parameter.shape else 0.0)
        for name, module in model.named_modules():
            if isinstance(module, Linear4bit):
                numbers = dequantize_4bit(module.weight.data, module.weight.quant_state)
                dense.get_submodule(name).weight.copy_(numbers)
    return dense


def pairs(vocabulary: int, rows: int = 6, scale: int = 1, prompt: int = 64) -> list[Pair]:
    """Pairs of unlike lengths, some with two turns, every other one with a recital.

    Args:
        scale: multiplies all lengths but the prompt's.
        prompt: tokens that the teacher alone sees, the same for all rows.
    """
    draw = random.Random(7)

    def ids(count: int) -> list[int]:
        return [draw.randrange(3, vocabulary) for _ in range(count)]

    before, made = ids(prompt), []
    for row in range(rows):
        behaviour = TokenSequence()
        for _ in range(1 + row % 2):
            behaviour.extend(ids(scale * (3 + 4 * row)), supervised=False)
            behaviour.extend(ids(scale * (5 + 3 * (rows - row))), supervised=True)
        recital = TokenSequence()
        recital.extend(ids(scale * 12), supervised=False)
        recital.extend(ids(scale * 9), supervised=True)
        teacher = TokenSequence()
        teacher.extend(before, supervised=False)
        teacher.ids += behaviour.ids
        teacher.labels += behaviour.labels
        made.append(Pair([behaviour], [recital] if row % 2 == 0 else [], [teacher], "prompt"))
    return made
