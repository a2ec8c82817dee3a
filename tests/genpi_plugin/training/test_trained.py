"""What is trained is what is saved."""

from __future__ import annotations

import pytest
from axolotl.utils.freeze import freeze_layers_except
from peft import LoraConfig, get_peft_model

from genpi_plugin.errors import ConfigError, GenPIError, SequenceLengthError
from genpi_plugin.training.trained import check_lengths, check_trained
from tests.genpi_plugin.reading.families import tiny_model
from tests.tiny import make_model


@pytest.mark.parametrize("options", [
    {}, {"use_dora": True}, {"modules_to_save": ["lm_head", "embed_tokens"]},
    {"trainable_token_indices": [1, 2]}, {"bias": "all"}, {"bias": "lora_only"},
    {"target_modules": ["q_proj", "lm_head", "embed_tokens"]},
], ids=str)  # fmt: skip
def test_adapters_of_every_kind_are_trained_and_saved(options):
    model = get_peft_model(
        make_model(), LoraConfig(r=4, **{"target_modules": ["q_proj"]} | options)
    )
    check_trained(model)
    check_trained(make_model())


def test_a_frozen_model_is_refused():
    """`unfrozen_parameters` with names of the base model, which an adapter's don't begin with:
    axolotl warns, and trains nothing."""
    model = get_peft_model(make_model(), LoraConfig(r=4))
    freeze_layers_except(model, ["model.layers.1.*"])
    with pytest.raises(ConfigError, match="all of the model's parameters are frozen"):
        check_trained(model)


def test_base_weights_in_training_beside_an_adapter_are_refused():
    model = get_peft_model(make_model(), LoraConfig(r=4))
    model.get_base_model().model.norm.requires_grad_(True)
    with pytest.raises(ConfigError, match=r"model\.norm.* would be lost"):
        check_trained(model)


def test_a_sequence_longer_than_the_model_reads_is_refused():
    """A recital can be, also where the teacher's view of the row is not."""
    model = make_model()
    model.config.max_position_embeddings = 100
    train, test = {"genpi_lengths": [[10, 100]]}, {"genpi_lengths": [[9], [12, 101]]}
    check_lengths(model, train, None)
    with pytest.raises(SequenceLengthError, match=r"1 of 5 sequences .* the 100 tokens .* 101"):
        check_lengths(model, train, test)


@pytest.mark.parametrize("name", ["phi3, longrope", "llama, dynamic rope"])
def test_rows_with_calls_of_their_own_are_refused_where_all_processes_make_one(name):
    """Those processes that have such rows would wait for calls that the others do not make."""
    model = tiny_model(name, original_max_position_embeddings=50)
    short, long = {"genpi_lengths": [[10, 50]]}, {"genpi_lengths": [[9], [12, 51]]}
    check_lengths(model, short, long)
    check_lengths(model, short, None, sharded=True)
    with pytest.raises(GenPIError, match=r"beyond 50 tokens.*must make one call for all"):
        check_lengths(model, short, long, sharded=True)
