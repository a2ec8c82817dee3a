"""The manifest beside weights is of those weights: their step, and what they were trained on."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from axolotl.utils.dict import DictDefault
from safetensors.torch import load_file
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from genpi_plugin.data.prepared import describe_prompt, record_prompts
from genpi_plugin.training.manifest import ManifestCallback, build_manifest, read_manifest
from tests.genpi_plugin.rows_made import PROMPT, paper
from tests.genpi_plugin.training.test_trainer import trainer

OTHER = [{"role": "system", "content": "Sell hats."}]


def manifest_of(folder: Path, prompt_id: str, prompt, **changes):
    prepared = folder / f"genpi-{prompt_id}"
    record_prompts(str(prepared), [describe_prompt(prompt_id, prompt)])
    cfg = {"dataset_prepared_path": str(prepared), "base_model": "tiny", "genpi": {},
           "datasets": [{"path": f"data/{prompt_id}"}], **changes}  # fmt: skip
    return build_manifest(DictDefault(cfg), train_rows=8)


def run(folder: Path, manifest, steps: int, resume: Path | None = None, callback=None, **arguments):
    made = trainer(folder, paper(), batch=4, accumulation=2, steps=steps)
    options = {"save_strategy": SaveStrategy.STEPS, "save_steps": 1, **arguments}
    for name, value in options.items():
        setattr(made.args, name, value)
    made.add_callback(ManifestCallback(manifest, str(resume) if resume else None))
    if callback:
        made.add_callback(callback)
    made.train(resume_from_checkpoint=str(resume) if resume else None)
    return made


def test_after_the_best_weights_were_put_back_the_manifest_is_theirs(tmp_path):
    """The largest loss is called the best one, so that it is the first step's."""
    made = run(
        tmp_path, manifest_of(tmp_path, "shop", PROMPT), steps=3, eval_steps=1,
        eval_strategy=IntervalStrategy.STEPS, load_best_model_at_end=True,
        metric_for_best_model="eval_loss", greater_is_better=True,
    )  # fmt: skip
    final, first, last = (
        read_manifest(folder)
        for folder in (tmp_path, tmp_path / "checkpoint-1", tmp_path / "checkpoint-3")
    )
    made.save_model(str(tmp_path / "saved"))
    saved, of_first = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (tmp_path / "saved", tmp_path / "checkpoint-1")
    )
    assert all(saved[key].equal(of_first[key]) for key in saved)
    assert final["step"] == first["step"] == 1
    assert final["epoch"] == first["epoch"] == 1.0
    assert final["spans"] == first["spans"]
    assert final["best"] == {"by": "eval_loss", "value": made.state.best_metric, "last_step": 3}
    assert final["spent"]["seconds"] >= last["spent"]["seconds"]
    assert "best" not in last


def test_without_the_best_weights_it_is_of_the_last_step(tmp_path):
    run(tmp_path, manifest_of(tmp_path, "shop", PROMPT), steps=2)
    assert read_manifest(tmp_path)["step"] == read_manifest(tmp_path)["epoch"] == 2


@pytest.fixture(scope="module")
def first_run(tmp_path_factory) -> Path:
    """A run on the shop's prompt, stopped at step 2."""
    folder = tmp_path_factory.mktemp("first")
    run(folder, manifest_of(folder, "shop", PROMPT), steps=2)
    return folder


def test_resumed_on_another_prompt_it_names_both_and_warns(tmp_path, first_run, caplog):
    logging.getLogger("axolotl").propagate = True
    run(tmp_path, manifest_of(tmp_path, "hats", OTHER), 4, resume=first_run / "checkpoint-2")
    found = read_manifest(tmp_path)
    spans = [(s["prompts"][0]["prompt_id"], s["from_step"], s["to_step"]) for s in found["spans"]]
    assert spans == [("shop", 0, 2), ("hats", 2, 4)]
    assert [prompt["prompt_id"] for prompt in found["prompts"]] == ["shop", "hats"]
    assert found["data"]["fingerprint"] == "hats"
    assert read_manifest(tmp_path / "checkpoint-3")["spans"][1]["to_step"] == 3
    assert "until step 2 this adapter was trained on another prompt (shop, now hats)" in caplog.text


def test_resumed_on_the_same_data_it_is_one_span_without_a_warning(tmp_path, first_run, caplog):
    logging.getLogger("axolotl").propagate = True
    run(tmp_path, manifest_of(tmp_path, "shop", PROMPT), 3, resume=first_run / "checkpoint-2")
    [span] = read_manifest(tmp_path)["spans"]
    assert (span["from_step"], span["to_step"]) == (0, 3)
    assert "this adapter was trained on" not in caplog.text


def test_other_requests_to_keep_are_another_span_without_a_warning(tmp_path, first_run, caplog):
    """They are known in the first step; the data are the same, and say so."""
    logging.getLogger("axolotl").propagate = True

    class Known(TrainerCallback):
        def __init__(self, kept, digest):
            self.kept, self.digest = kept, digest

        def on_step_begin(self, *_, **__):
            self.kept |= {"requests": 3, "digest": self.digest}

    def go_on(folder, digest, steps, resume):
        kept = {}
        manifest = {**manifest_of(folder, "shop", PROMPT), "keep": kept}
        run(folder, manifest, steps, resume, callback=Known(kept, digest))
        return [
            ((span.get("keep") or {}).get("digest"), span["from_step"], span["to_step"])
            for span in read_manifest(folder)["spans"]
        ]

    a, b = tmp_path / "a", tmp_path / "b"
    spans = [(None, 0, 2), ("one", 2, 3)]
    assert go_on(a, "one", 3, first_run / "checkpoint-2") == spans
    assert go_on(b, "one", 4, a / "checkpoint-3") == [spans[0], ("one", 2, 4)]
    assert go_on(b, "two", 5, b / "checkpoint-4") == [spans[0], ("one", 2, 4), ("two", 4, 5)]
    assert "this adapter was trained on" not in caplog.text


def test_a_checkpoint_without_a_manifest_leaves_an_unknown_span(tmp_path, first_run, caplog):
    logging.getLogger("axolotl").propagate = True
    (first_run / "checkpoint-1" / "genpi_manifest.json").unlink()
    run(tmp_path, manifest_of(tmp_path, "shop", PROMPT), 2, resume=first_run / "checkpoint-1")
    unknown, own = read_manifest(tmp_path)["spans"]
    assert (unknown["data"], unknown["to_step"], own["from_step"]) == (None, 1, 1)
    assert "what it was trained on is unknown" in caplog.text


def test_an_adapter_that_starts_from_another_names_it_and_its_prompts(tmp_path, first_run):
    checkpoint = first_run / "checkpoint-2"
    manifest = manifest_of(tmp_path, "hats", OTHER, lora_model_dir=str(checkpoint))
    run(tmp_path, manifest, steps=1)
    found = read_manifest(tmp_path)
    assert found["started_from"]["adapter"] == str(checkpoint)
    assert len(found["started_from"]["digest"]) == 16
    assert found["started_from"]["spans"] == read_manifest(checkpoint)["spans"]
    assert [prompt["prompt_id"] for prompt in found["prompts"]] == ["shop", "hats"]
    assert [span["prompts"][0]["prompt_id"] for span in found["spans"]] == ["hats"]


def test_a_manifest_of_an_older_version_counts_as_one_span(tmp_path, first_run):
    path = first_run / "checkpoint-2" / "genpi_manifest.json"
    kept = path.read_text()
    try:
        old = {**read_manifest(path.parent), "manifest_version": 1}
        del old["spans"]
        path.write_text(json.dumps(old))
        run(tmp_path, manifest_of(tmp_path, "hats", OTHER), 3, resume=path.parent)
    finally:
        path.write_text(kept)
    spans = [(s["from_step"], s["to_step"]) for s in read_manifest(tmp_path)["spans"]]
    assert spans == [(0, 2), (2, 3)]


def test_weights_that_an_interrupt_saved_get_a_manifest_of_their_step(tmp_path, monkeypatch):
    """On Ctrl-C axolotl saves the model and exits; older weights in the folder keep theirs."""
    at_exit = []
    monkeypatch.setattr("atexit.register", at_exit.append)

    class Interrupt(TrainerCallback):
        def __init__(self, saves: bool) -> None:
            self.saves = saves

        def on_step_end(self, args, state, control, model=None, **_):
            if state.global_step == 2:
                if self.saves:
                    model.save_pretrained(args.output_dir)
                raise SystemExit(0)

    manifest = manifest_of(tmp_path, "shop", PROMPT)
    for saves in (False, True):
        with pytest.raises(SystemExit):
            run(tmp_path, manifest, 4, callback=Interrupt(saves), save_strategy=SaveStrategy.NO)
        at_exit.pop()()
        assert (read_manifest(tmp_path) or {}).get("step") == (2 if saves else None)
    assert read_manifest(tmp_path)["spans"][0]["to_step"] == 2
