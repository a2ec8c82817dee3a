"""Tiny random models of every causal language model that the installed transformers has.

A family's default config is made small by the names of its fields; `CHANGES` has what some need
besides. A family of a new release is built by the same rules.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)

WINDOW = 16
# Parameters of a model that is still tiny.
LARGEST = 5_000_000
SIZES = {
    "vocab_size": 512,
    **dict.fromkeys(["hidden_size", "d_model", "n_embd", "lru_width"], 32),
    **dict.fromkeys(["intermediate_size", "ffn_dim", "n_inner", "d_ff", "encoder_ffn_dim",
                     "decoder_ffn_dim", "ffn_hidden_size"], 64),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
                     "decoder_layers"], 2),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "encoder_attention_heads",
                     "decoder_attention_heads"], 4),
    "num_key_value_heads": 2,
    **dict.fromkeys(["head_dim", "rotary_dim"], 8),
    **dict.fromkeys(["max_position_embeddings", "n_positions"], 2048),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size"], 32),
    **dict.fromkeys(["num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts"], 2),
    **dict.fromkeys(["n_group", "topk_group"], 1),
    # Latent attention.
    "kv_lora_rank": 8, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 8, "first_k_dense_replace": 1, "index_n_heads": 2, "index_head_dim": 16,
    "index_topk": 512,
    # Windows and chunks, shorter than the rows of the tests.
    **dict.fromkeys(["sliding_window", "attention_chunk_size", "attention_window_size",
                     "window_size"], WINDOW),
    # Recurrent layers.
    **dict.fromkeys(["mamba_n_heads", "mamba_num_heads", "n_mamba_heads"], 4),
    **dict.fromkeys(["mamba_d_head", "mamba_head_dim"], 16),
    **dict.fromkeys(["mamba_d_state", "state_size", "ssm_state_size"], 8),
    **dict.fromkeys(["mamba_n_groups", "n_groups"], 1),
    **dict.fromkeys(["mamba_chunk_size", "chunk_size"], 16),
    "mamba_d_ssm": 64,
    **dict.fromkeys(["linear_num_key_heads", "linear_num_value_heads"], 2),
    **dict.fromkeys(["linear_key_head_dim", "linear_value_head_dim"], 8),
    **dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id"], 0),
}  # fmt: skip
# Positions in three dimensions, for pictures.
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
LATENT = {"num_key_value_heads": 4, "head_dim": 8}
# What the rules above don't give: config fields by family.
CHANGES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(["qwen2_5_vl_text", "qwen2_vl_text", "paddleocr_vl_text", "glm4v_text"], MROPE),
    **dict.fromkeys(["axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite",
                     "glm_moe_dsa", "minicpm3", "youtu"], LATENT),
    "bamba": {"attn_layer_indices": [1]},
    "cohere_compass_text": {"num_key_value_heads": 4, "layer_types": ["full_attention",
                            "sliding_attention"]},
    "codegen": {"rotary_dim": 8},
    "deepseek_v4": {"o_groups": 2, "o_lora_rank": 8, "num_key_value_heads": 1, "head_dim": 16,
                    "qk_rope_head_dim": 8, "partial_rotary_factor": 0.5,
                    "compress_rates": {"compressed_sparse_attention": 4,
                                       "heavily_compressed_attention": 8}},
    "dots1": {**LATENT, "n_shared_experts": 1},
    "gemma3n_text": {"intermediate_size": [64] * 4, "num_hidden_layers": 4,
                     "layer_types": ["sliding_attention", "full_attention"] * 2,
                     "num_kv_shared_layers": 2, "vocab_size_per_layer_input": 512,
                     "hidden_size_per_layer_input": 8, "laurel_rank": 8,
                     "activation_sparsity_pattern": [0.0] * 4},
    "gemma4_text": {"vocab_size_per_layer_input": 512, "hidden_size_per_layer_input": 8,
                    "per_layer_config": {}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4,
              "use_mamba_kernels": False},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {**LATENT, "num_hidden_layers": 4, "num_layers": 2, "zero_expert_num": 2,
                      "expert_ffn_hidden_size": 32, "qk_head_dim": 16},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "nemotron_h": {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
                   "moe_shared_expert_intermediate_size": 32, "use_mamba_kernels": False},
    "recurrent_gemma": {"num_hidden_layers": 2, "block_types": ["recurrent", "attention"]},
    "xlstm": {"num_heads": 4, "num_blocks": 2, "embedding_dim": 32},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2,
              "num_key_value_heads": 4, "attention_hidden_size": 64, "attention_head_dim": 16,
              "n_mamba_heads": 2, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}  # fmt: skip
LONGROPE = {"original_max_position_embeddings": 50, "rope_scaling": {
    "rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}}  # fmt: skip
# Further settings of a family that change how it reads, walked as families of their own.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3, longrope": ("phi3", LONGROPE),
    "llama, dynamic rope": ("llama", {"max_position_embeddings": 50, "rope_scaling": {
        "rope_type": "dynamic", "factor": 4.0}}),
    "llama, yarn": ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                                               "original_max_position_embeddings": 40}}),
    "mistral, no window": ("mistral", {"sliding_window": None}),
    "mixtral, no window": ("mixtral", {"sliding_window": None}),
    "qwen2, window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1,
                                "layer_types": ["full_attention", "sliding_attention"]}),
}  # fmt: skip


# Families that read pictures, too, as axolotl's examples have them; here they read text alone.
WITH_IMAGES = ("gemma3", "gemma4", "gemma4_unified", "glm46v", "internvl", "lfm2_vl", "llama4",
               "llava", "mistral3", "mistral4", "paddleocr_vl", "qwen2_5_vl", "qwen2_vl", "qwen3_5",
               "qwen3_5_moe", "qwen3_vl", "qwen4_exp", "smolvlm")  # fmt: skip
PICTURES = {
    **dict.fromkeys(["depth", "num_hidden_layers"], 1),
    **dict.fromkeys(["hidden_size", "out_hidden_size", "embed_dim"], 32),
    **dict.fromkeys(["num_heads", "num_attention_heads"], 4),
    "intermediate_size": 64, "image_size": 28, "patch_size": 14, "fullatt_block_indexes": [0],
    "deepstack_visual_indexes": [0], "vision_output_dim": 32, "projector_input_dim": 32,
    "projector_output_dim": 32,
}  # fmt: skip
# What can't be made small, or is no language model by itself: why.
UNBUILT: dict[str, str] = {
    **dict.fromkeys(["blt", "roc_bert", "xlm"], "fields of its own decide its size"),
    **dict.fromkeys(["git", "got_ocr2", "mllama", "phi4_multimodal", "mistral4", "gemma3n", "emu3",
                     "musicgen", "musicgen_melody"], "has parts for pictures or sound"),
    **dict.fromkeys(["gemma4_assistant", "gemma4_unified_assistant"],
                    "reads the states of another model"),
    **dict.fromkeys(["cohere_compass_text", "dbrx", "qwen4_exp", "qwen4_exp_text", "xlstm"],
                    "its config can't be made small by its fields' names"),
    **dict.fromkeys(["deepseek_v4"], "its grouped output layer takes no LoRA"),
    **dict.fromkeys(["reformer", "xmod", "prophetnet"], "is no decoder by default"),
}  # fmt: skip


def families() -> list[str]:
    """All that the installed transformers has, and the variants and composites named here."""
    known = dict.fromkeys([*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *VARIANTS, *WITH_IMAGES])
    return [family for family in known if VARIANTS.get(family, [family])[0] in CONFIG_MAPPING]


def tiny_config(family: str, **changes: Any) -> Any:
    """The family's config, small."""
    kind, variant = VARIANTS.get(family, (family, {}))
    further = {**variant, **changes}
    default = CONFIG_MAPPING[kind]()
    if kind not in WITH_IMAGES:
        return _small(default, further)
    parts = {name: getattr(default, name, None) for name in default.sub_configs}
    small = {
        name: _small(part) if name == "text_config" else _small_pictures(part)
        for name, part in parts.items()
        if part is not None
    }
    return type(default)(**small)


def _small(default: Any, further: dict[str, Any] | None = None) -> Any:
    have = default.to_dict()
    sizes = {name: value for name, value in SIZES.items() if name in have}
    for name in ("layer_types", "layers_block_type", "mlp_layer_types"):
        if layers := _one_of_each(have.get(name)):
            sizes[name] = layers
    changes = CHANGES.get(default.model_type, {})
    return type(default)(**{**sizes, **changes, **(further or {})})


def _small_pictures(default: Any) -> Any:
    have = default.to_dict()
    return type(default)(**{name: value for name, value in PICTURES.items() if name in have})


def _one_of_each(layers: Any) -> list[str]:
    """Two layers at least, with one of each kind."""
    kinds = list(dict.fromkeys(layers or []))[:2]
    return kinds * (2 if len(kinds) == 1 else 1)


def tiny_model(family: str, seed: int = 0, **changes: Any) -> Any:
    """A model whose outputs depend on all that it reads: matrices are drawn wide, as trained ones.

    Float32, in evaluation.
    """
    config = tiny_config(family, **changes)
    cls = _class_of(family, config)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in cls(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size / 1e6:.0f} million parameters are left")
    torch.manual_seed(seed)
    model = cls(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=1 / math.sqrt(parameter.shape[-1]))
    return model


def runnable(model: Any, family: str) -> Any:
    """The model; skips the test where it does not run on this machine at all, however it is called.

    Some releases call kernels for GPUs wherever the package that holds them is installed.
    """
    try:
        with torch.no_grad():
            model(torch.tensor([[3, 4, 5]]))
    except Exception as error:
        import pytest

        pytest.skip(f"transformers {transformers.__version__} can't run {family} here: {error!r}")
    return model


def saved(model: Any, folder: Any) -> None:
    """Save a model; skips the test where this release can't save one of its own (Mamba in 5.20)."""
    try:
        model.save_pretrained(folder)
    except AttributeError as error:
        import pytest

        pytest.skip(f"transformers {transformers.__version__} can't save it: {error!r}")


def _class_of(family: str, config: Any) -> Any:
    """The family's model: for text alone, or with pictures, of which none is given."""
    if family in WITH_IMAGES:
        return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
