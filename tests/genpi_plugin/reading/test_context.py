"""How long a row may be, by a model's config."""

from __future__ import annotations

import pytest
from peft import LoraConfig, get_peft_model
from transformers import Gemma3Config, GPT2Config, LlamaConfig, MambaConfig, XLNetConfig

from genpi_plugin.reading.context import context_of, context_of_model, note
from tests.tiny import make_model


@pytest.mark.parametrize(("config", "most"), [
    (LlamaConfig(max_position_embeddings=512), 512),
    (GPT2Config(n_positions=128), 128),
    (MambaConfig(), None),
    (XLNetConfig(), None),
    # As Qwen2.5's card has it: the length from before stays in the config.
    (LlamaConfig(max_position_embeddings=512, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}), 2048),
    (LlamaConfig(max_position_embeddings=512, rope_scaling={
        "rope_type": "dynamic", "factor": 2.0}), 1024),
    # As Llama 3.1's: the length is that of the stretched positions.
    (LlamaConfig(max_position_embeddings=4096, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024}), 4096),
    (Gemma3Config(text_config={"max_position_embeddings": 256}), 256),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_the_longest_row(config, most):
    assert context_of(config) == most


def test_what_is_noted_when_a_model_is_loaded_stays():
    """axolotl raises the length in the config to `sequence_len`."""
    model = make_model()
    model.config.max_position_embeddings = 128
    assert context_of_model(model) == 128
    note(model)
    model.config.max_position_embeddings = 4096
    assert context_of_model(get_peft_model(model, LoraConfig(r=2))) == 128
