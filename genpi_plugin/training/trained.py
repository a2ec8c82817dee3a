"""Whether what is to be trained can be: parameters that are saved, rows that the model reads."""

from __future__ import annotations

from typing import Any

from genpi_plugin.data.examples import LENGTHS
from genpi_plugin.errors import ConfigError, SequenceLengthError
from genpi_plugin.reading.capabilities import check_no_switch
from genpi_plugin.reading.context import context_of_model


def check_trained(model: Any) -> None:
    """Once the trainer is made, before parameters are spread over processes.

    Args:
        model: the model in training, not wrapped.

    Raises:
        ConfigError: all parameters are frozen, or there is an adapter and others are trained
            beside it: those are in no adapter that is saved.
    """
    training = {name: each for name, each in model.named_parameters() if each.requires_grad}
    if not training:
        raise ConfigError(
            "all of the model's parameters are frozen: nothing would be trained.",
            "remove `unfrozen_parameters`, which freezes all that it doesn't name (of an adapter, "
            "too).",
        )
    if not hasattr(model, "peft_config"):
        return
    from peft import get_peft_model_state_dict

    saved = {
        each.data_ptr()
        for adapter in model.peft_config
        for each in get_peft_model_state_dict(
            model, adapter_name=adapter, save_embedding_layers=False
        ).values()
    }
    lost = [name for name, each in training.items() if each.data_ptr() not in saved]
    if lost:
        raise ConfigError(
            f"{len(lost)} parameters of the base model would be trained beside the adapter "
            f"({lost[0]}), which does not hold them: they would be lost.",
            "remove `unfrozen_parameters`, or name the modules in `lora_modules_to_save`.",
        )


def check_lengths(model: Any, *datasets: Any, sharded: bool = False) -> None:
    """No sequence may be longer than the model reads.

    Args:
        datasets: rows of `Pair.columns`; None where there are none.
        sharded: each process holds only a part of the parameters, so that all make one call.

    Raises:
        SequenceLengthError: one is; says how long the longest is.
        GenPIError: see `check_no_switch`, where the model is sharded.
    """
    limit = context_of_model(model)
    lengths = [length for rows in datasets if rows is not None for row in rows[LENGTHS]
               for length in row]  # fmt: skip
    if limit and max(lengths, default=0) > limit:
        raise SequenceLengthError(
            f"{sum(length > limit for length in lengths)} of {len(lengths)} sequences are longer "
            f"than the {limit} tokens that the model reads (max_position_embeddings); the longest "
            f"has {max(lengths)}.",
            "shorten the prompt or the conversations; recitals hold less of the prompt with a "
            "smaller `prompt_generation_piece`, and are left out with "
            "`prompt_generation_share: 0`.",
        )
    if sharded:
        check_no_switch(model, max(lengths, default=0))
