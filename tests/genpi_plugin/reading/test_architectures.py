"""The families of causal language models, each called in the fastest way that is right for it.

What is fast, what is plain and what can't be built is compared with what is known: a new release of
transformers that changes any of it shows up here. `python -m tests.genpi_plugin.reading.walk`
writes the table of docs/architectures.md.
"""

from __future__ import annotations

import pytest

from tests.genpi_plugin.reading.families import UNBUILT, families, runnable, tiny_model
from tests.genpi_plugin.reading.walk import ALLOWED, examine

# Cached start when reading, when answering, and packing: one of each kind for every day.
FEW = {
    "llama": ("shared", "shared", "packed"),
    "deepseek_v3": ("copied", "copied", "packed"),  # latent attention
    "gpt_oss": ("copied", "plain", "padded"),  # windows and sinks
    "gemma2": ("copied", "plain", "packed"),  # windows; logits changed after the head
    "phi3, longrope": ("plain", "plain", "packed"),  # rows on both sides of the switch
    "llama, dynamic rope": ("plain", "plain", "packed"),
    "lfm2": ("plain", "plain", "padded"),  # convolutions
    "qwen3_5_text": ("plain", "plain", "padded"),  # linear attention
    "jamba": ("plain", "plain", "padded"),  # recurrent layers
    "minimax": ("copied", "plain", "padded"),
    "recurrent_gemma": ("plain", "plain", "padded"),
    "mamba": ("plain", "plain", "padded"),
    "qwen2_5_vl": ("shared", "shared", "padded"),  # positions in three dimensions
}


@pytest.mark.parametrize("family", FEW)
def test_a_family_is_called_in_the_fastest_way_that_is_right(family):
    runnable(tiny_model(family), family)
    found = examine(family)
    assert found.worst <= ALLOWED, found
    assert (found.teacher, found.answers, found.packing) == FEW[family], found.why


@pytest.mark.slow
@pytest.mark.parametrize("family", [one for one in families() if one not in FEW])
def test_no_family_is_off_in_silence(family):
    if family in UNBUILT:
        pytest.skip(UNBUILT[family])
    runnable(tiny_model(family), family)
    found = examine(family)
    assert found.worst <= ALLOWED, found


@pytest.mark.slow
@pytest.mark.parametrize("family", UNBUILT)
def test_what_is_said_not_to_be_built_still_is_not(family):
    if family not in families():
        pytest.skip("this transformers does not have it")
    with pytest.raises(Exception, match=r".*"):
        examine(family)
