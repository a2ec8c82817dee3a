"""Models that can't be loaded, and how one is known."""

from __future__ import annotations

import pytest

from synth.engines.local.engine import TransformersEngine
from synth.engines.weights import describe
from synth.errors import EngineError
from tests.synth.engines.asking import PROMPT, answers, ask
from tests.synth.engines.local.models import engine
from tests.tiny import save_tiny


def test_template_without_system_role_names_the_cure(tmp_path):
    folder = save_tiny(tmp_path, "gemma")
    with pytest.raises(EngineError) as caught:
        answers(engine(folder), [ask("hello", prompt=PROMPT)])
    assert "System role not supported" in caught.value.cause
    assert "prompt_role: user" in caught.value.cure


def test_no_model_folder():
    with pytest.raises(EngineError, match=r"no model folder \./nothing/here"):
        TransformersEngine("./nothing/here")


def test_folder_without_a_model(tmp_path):
    with pytest.raises(EngineError, match=r"no config\.json"):
        TransformersEngine(str(tmp_path))


def test_folder_without_weights(tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(EngineError, match="can't be loaded"):
        answers(engine(folder), [ask("hello")])


def test_no_chat_template(tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(EngineError, match="no chat template"):
        answers(engine(folder), [ask("hello")])


def test_unknown_dtype(tiny):
    with pytest.raises(EngineError, match="no dtype 'float7'"):
        _ = TransformersEngine(str(tiny), dtype="float7").identity


def test_identity_follows_the_content_not_the_place(tiny, tmp_path):
    import shutil

    moved = tmp_path / "elsewhere" / "model"
    shutil.copytree(tiny, moved)
    assert describe(str(moved)) == describe(str(tiny))
    assert str(tmp_path) not in str(engine(moved).identity)
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert describe(str(moved)) != describe(str(tiny))
