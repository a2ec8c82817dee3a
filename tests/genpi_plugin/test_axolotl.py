"""The real `axolotl` command line on a tiny model: what a user types, and what they read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import yaml
from safetensors.torch import load_file

from tests.genpi_plugin.rows_made import official_row, our_row
from tests.tiny import save_tiny

pytestmark = pytest.mark.timeout(900)
CONFIG = {
    "plugins": ["genpi_plugin.GenPIPlugin"],
    "genpi": {"sft_weight": 0.6, "prompt_generation_share": 1, "distill_weight": 0},
    "sequence_len": 2048,
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_linear": True,
    "lora_mlp_kernel": False,
    "lora_qkv_kernel": False,
    "lora_o_kernel": False,
    "attn_implementation": "sdpa",
    "bf16": False,
    "tf32": False,
    "dataset_num_proc": 1,
    "optimizer": "adamw_torch",
    "learning_rate": 1e-2,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "max_steps": 4,
    "save_steps": 2,
    "logging_steps": 1,
    "seed": 1,
}
RESULT = re.compile(r"\{'(?:eval_)?loss'.*\}")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a model and data, ours in `data/shop` and the official schema in `official`."""
    folder = tmp_path_factory.mktemp("cli")
    save_tiny(folder / "tiny")
    data = folder / "data" / "shop" / "data"
    data.mkdir(parents=True)
    for split, count in (("train", 16), ("test", 4)):
        rows = [
            our_row(turns=1 + i % 2, id=f"{split}{i}", input=f"{split}: shirt number {i}")
            for i in range(count)
        ]
        datasets.Dataset.from_list(rows).to_parquet(data / f"{split}-00000-of-00001.parquet")
    resolved = {"task": {"name": "shop", "action_pattern": r"search\[(?P<action>[^\]]*)\]"}}
    (folder / "data" / "shop" / "synth.yaml").write_text(yaml.safe_dump(resolved))
    rows = [official_row(pseudo_input=f"shirt number {i}") for i in range(8)]
    datasets.Dataset.from_list(rows).save_to_disk(folder / "official")
    return folder


def write_config(place: Path, name: str, **changes) -> str:
    entry = {"path": "data/shop", "type": "genpi_plugin.strategy"}
    config = {
        "base_model": "tiny",
        "datasets": [{**entry, "split": "train"}],
        "test_datasets": [{**entry, "split": "test"}],
        "output_dir": f"out/{name}",
        **CONFIG,
        **changes,
    }
    (place / f"{name}.yml").write_text(yaml.safe_dump(config))
    return f"{name}.yml"


def axolotl(place: Path, *arguments: str, ok: bool = True, stdin: str = "") -> str:
    """Run `axolotl` as a user would; returns all it printed."""
    env = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "axolotl"), *arguments],
        cwd=place,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    text = done.stdout + done.stderr
    assert (done.returncode == 0) is ok, text[-3000:]
    return text


def losses(text: str) -> list[dict[str, float]]:
    found = [json.loads(m.group(0).replace("'", '"')) for m in RESULT.finditer(text)]
    return [{key: float(value) for key, value in entry.items()} for entry in found]


def adapter(folder: Path):
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def trained(place) -> str:
    """What `axolotl train` printed for the plain run that several tests look at."""
    return axolotl(place, "train", write_config(place, "plain"), "--launcher", "python")


def test_train_reports_both_losses_and_leaves_adapter_and_manifest(place, trained):
    steps = [entry for entry in losses(trained) if "loss" in entry]
    assert len(steps) == 4
    for entry in steps:
        joint = 0.6 * entry["behaviour_loss"] + 0.4 * entry["prompt_generation_loss"]
        assert entry["loss"] == pytest.approx(joint, rel=2e-3)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert "axolotl genpi-eval plain.yml" in trained
    out = place / "out" / "plain"
    for folder, step in ((out, 4), (out / "checkpoint-2", 2)):
        manifest = json.loads((folder / "genpi_manifest.json").read_text())
        assert manifest["step"] == step
        assert manifest["genpi"]["sft_weight"] == 0.6
        assert manifest["genpi"]["prompt_generation_piece"] == 256
        assert manifest["prompts"][0]["prompt_id"] == "shop"
        assert len(manifest["data"]["fingerprint"]) == 16
        assert manifest["spent"]["seconds"] > 0
        assert manifest["spent"]["flops"] > 0


@pytest.mark.slow
def test_the_teacher_reads_each_row_once_for_all_runs(place):
    """Distillation, with requests to keep as that has them by default: a first run, resumed, then
    packed with another weight."""
    both = {"genpi": {"sft_weight": 0.6, "prompt_generation_share": 1, "keep_tokens": 8}}
    name = write_config(place, "taught", eval_strategy="steps", eval_steps=4, **both)
    text = axolotl(place, "train", name, "--launcher", "python")
    assert "the teacher reads 20 of 20 rows" in text
    steps = [entry for entry in losses(text) if "loss" in entry]
    for entry in steps:
        joint = 0.6 * entry["behaviour_loss"] + 0.4 * entry["prompt_generation_loss"]
        taught = entry["divergence"] + entry["keep_divergence"]
        assert entry["loss"] == pytest.approx(joint + taught, rel=2e-3)
    assert any(entry["keep_divergence"] > 0 for entry in steps)
    evaluated = [entry["eval_divergence"] for entry in losses(text) if "eval_loss" in entry]
    assert evaluated
    assert all(divergence > 0 for divergence in evaluated)

    name = write_config(
        place, "taught_on", resume_from_checkpoint="out/taught/checkpoint-2", **both
    )
    text = axolotl(place, "train", name, "--launcher", "python")
    assert "the teacher reads 0 of 20 rows" in text
    assert [entry["loss"] for entry in losses(text) if "loss" in entry] == [
        entry["loss"] for entry in steps[2:]
    ]

    packed = {"sample_packing": True, "micro_batch_size": 1, "max_steps": 2}
    other = {"genpi": {"sft_weight": 1.0, "distill_weight": 0.5, "keep_weight": 0},
             "learning_rate": 1e-3}  # fmt: skip
    name = write_config(place, "taught_packed", **packed, **other)
    text = axolotl(place, "train", name, "--launcher", "python")
    assert "the teacher reads 0 of 20 rows" in text
    assert all(entry["divergence"] > 0 for entry in losses(text) if "loss" in entry)


@pytest.mark.slow
def test_requests_of_the_models_own_are_kept_to_as_the_prompt_has_them(place):
    """`keep: teacher` on requests that the model wrote, then resumed: nothing is written again."""
    genpi = {"sft_weight": 0.6, "distill_weight": 0, "prompt_generation_share": 1,
             "keep_weight": 0.5, "keep": "teacher", "keep_inputs": "self", "keep_rows": 3,
             "keep_tokens": 8}  # fmt: skip
    text = axolotl(place, "train", write_config(place, "kept", genpi=genpi), "--launcher", "python")
    assert re.search(r"\d+ requests to keep are the model's own, of \d+ that it wrote", text)
    steps = [entry for entry in losses(text) if "loss" in entry]
    for entry in steps:
        joint = 0.6 * entry["behaviour_loss"] + 0.4 * entry["prompt_generation_loss"]
        assert entry["loss"] == pytest.approx(joint + 0.5 * entry["keep_divergence"], rel=2e-3)
        assert entry["keep_divergence"] > 0
    manifest = json.loads((place / "out" / "kept" / "genpi_manifest.json").read_text())
    assert 0 < manifest["keep"]["requests"] <= 200
    assert len(manifest["keep"]["digest"]) == 16
    written = {path: path.stat().st_mtime_ns for path in place.rglob("keep/*/*.json")}
    name = write_config(
        place, "kept_on", genpi=genpi, resume_from_checkpoint="out/kept/checkpoint-2"
    )
    text = axolotl(place, "train", name, "--launcher", "python")
    assert [one["loss"] for one in losses(text) if "loss" in one] == [
        one["loss"] for one in steps[2:]
    ]
    assert {path: path.stat().st_mtime_ns for path in place.rglob("keep/*/*.json")} == written


def test_resumed_is_uninterrupted(place, trained):
    name = write_config(place, "resumed", resume_from_checkpoint="out/plain/checkpoint-2")
    text = axolotl(place, "train", name, "--launcher", "python")
    before = [entry["loss"] for entry in losses(trained) if "loss" in entry]
    after = [entry["loss"] for entry in losses(text) if "loss" in entry]
    assert after == before[2:]
    first, second = (
        json.loads((place / "out" / folder / "genpi_manifest.json").read_text())["spent"]["seconds"]
        for folder in ("plain/checkpoint-2", "resumed")
    )
    assert second > first  # the first half is in it
    resumed, whole = adapter(place / "out" / "resumed"), adapter(place / "out" / "plain")
    assert all(resumed[key].equal(whole[key]) for key in whole)


@pytest.mark.slow
def test_packed_trains_as_unpacked_does(place, trained):
    """Bins hold other rows than batches do, so what must agree is the loss on all rows."""
    name = write_config(
        place, "packed", sample_packing=True, eval_sample_packing=False, max_steps=1,
        save_steps=1, micro_batch_size=4, gradient_accumulation_steps=1, sequence_len=1024,
        sample_packing_group_size=16,
    )  # fmt: skip
    text = axolotl(place, "train", name, "--launcher", "python")
    [entry] = [entry for entry in losses(text) if "loss" in entry]
    first = next(entry for entry in losses(trained) if "loss" in entry)
    assert entry["behaviour_tokens"] > first["behaviour_tokens"]
    assert entry["prompt_generation_loss"] == pytest.approx(
        first["prompt_generation_loss"], rel=0.02
    )


def test_preprocess_shows_the_whole_prompt_reason_and_end_token(place):
    text = axolotl(place, "preprocess", write_config(place, "pre"), "--debug")
    # Every token is followed by its label and its id.
    told = re.sub(r"\((-?\d+), \d+\) ?", "", text)
    assert (
        "## Prompt\n<SYSTEM>:\nYou are a shop assistant. Answer with one action.\n\n<USER>:\n"
        "a red shirt\n\n<AGENT>:\nAction: search[red shirt]\n\n## Reason\n"
        "The prompt asks for an action, so the answer is one.<|im_end|>"
    ) in told
    assert "<|im_end|>(2, 2)" in text
    assert "<|im_end|>(-100, 2)" in text
    assert "<|im_start|>(-100, 1)" in text
    assert "<|im_start|>(1, 1)" not in text


@pytest.mark.slow
def test_edited_data_is_tokenized_anew(place):
    name = write_config(place, "edit", max_steps=1)
    path = place / "data" / "shop" / "data" / "train-00000-of-00001.parquet"
    kept = path.read_bytes()
    try:
        axolotl(place, "preprocess", name)
        rows = [our_row(id=f"e{i}", input=f"edited shirt {i}") for i in range(6)]
        datasets.Dataset.from_list(rows).to_parquet(path)
        axolotl(place, "train", name, "--launcher", "python")
    finally:
        path.write_bytes(kept)
    manifest = json.loads((place / "out" / "edit" / "genpi_manifest.json").read_text())
    assert manifest["data"]["train_rows"] == 6


def test_evaluate_reports_both_halves(place, trained):
    name = write_config(place, "evaluated", lora_model_dir="out/plain")
    text = axolotl(place, "evaluate", name, "--launcher", "python")
    assert re.search(r"eval_behaviour_loss", text)
    assert re.search(r"eval_prompt_generation_tokens", text)


@pytest.mark.slow
def test_inference_and_merge_run(place, trained):
    text = axolotl(
        place, "inference", "plain.yml", "--lora-model-dir", "out/plain",
        "--launcher", "python", stdin="hello\n",
    )  # fmt: skip
    assert "Traceback" not in text
    axolotl(place, "merge-lora", "plain.yml", "--lora-model-dir", "out/plain")
    assert (place / "out" / "plain" / "merged" / "model.safetensors").is_file()


def test_genpi_eval_writes_the_figures_of_contract_7(place, trained):
    text = axolotl(
        place,
        "genpi-eval",
        "plain.yml",
        "--max-new-tokens",
        "24",
        "--recitals",
        "1",
        "-o",
        "report",
        "--require",
        "internalization<=1",
        "--require",
        "kl_to_teacher<=-1",
        ok=False,
    )
    assert "Internalization:" in text
    assert "not met: kl_to_teacher<=-1:" in text
    assert "Traceback" not in text
    metrics = json.loads((place / "report" / "metrics.json").read_text())
    assert set(metrics["systems"]) == {"floor", "teacher", "student"}
    names = {frozenset(system) for system in metrics["systems"].values()}
    assert len(names) == 1
    assert {"kl_to_teacher", "valid", "agreement", "chrf"} <= set(next(iter(names)))
    assert metrics["systems"]["teacher"]["kl_to_teacher"]["value"] == 0
    assert metrics["n"] == 4
    for key in ("internalization", "retention", "cost", "seed", "versions"):
        assert key in metrics
    answers = (place / "report" / "answers.jsonl").read_text().splitlines()
    assert len(answers) == 4
    assert (place / "report" / "recital.md").is_file()
