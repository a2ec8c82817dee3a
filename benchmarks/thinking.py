"""Thoughts kept and thoughts off: rows, training and evaluation of one task with both.

    python -m benchmarks.thinking --model models/smollm2 --folder outputs/thinking

The model gets a chat template that takes thoughts (`reasoning_content`, `enable_thinking`), as
thinking models have one; the task's worked turns show how to think. With `thinking: keep` the
adapter has to think and act without the prompt, with `off` to act at once. Prints, for both, the
rows, what was rejected, and the evaluation's figures. `--rows 12 --epochs 1` for a look.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from benchmarks.folders import run

TASK = Path(__file__).parent / "thinking_task"
TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['reasoning_content'] %}<think>
{{ message['reasoning_content'] }}
</think>

{% endif %}{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}{% endif %}"""
# fmt: off
CONFIG: dict[str, Any] = {
    "plugins": ["genpi_plugin.GenPIPlugin"],
    "genpi": {"sft_weight": 1, "distill_weight": 1, "keep_weight": 0},
    "sequence_len": 1024,
    "adapter": "lora", "lora_r": 16, "lora_alpha": 32, "lora_target_linear": True,
    "micro_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 1e-3,
    "lr_scheduler": "cosine", "warmup_ratio": 0.03, "optimizer": "adamw_torch", "seed": 0,
    "logging_steps": 5, "save_strategy": "epoch", "save_total_limit": 1,
    "bf16": False, "tf32": False, "attn_implementation": "sdpa",
    "lora_mlp_kernel": False, "lora_qkv_kernel": False, "lora_o_kernel": False,
}
# fmt: on
FIGURES = ("thinks", "valid", "agreement", "chrf")


def thinking_model(model: Path, folder: Path) -> Path:
    """The model's files, by links, beside the template."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in model.resolve().iterdir():
        link = folder / path.name
        if path.name != "chat_template.jinja" and not link.exists():
            link.symlink_to(path)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


def made(thinking: str, model: Path, folder: Path, rows: int, epochs: int) -> dict[str, Any]:
    """Make rows, train, evaluate; the evaluation's metrics."""
    data = folder / "data"
    run("python", "-m", "synth", "run", TASK, "--model", model, "-n", rows, "-o", data,
         "--set", f"thinking={thinking}", "--resume", "changed")  # fmt: skip
    config = {
        "base_model": str(model),
        "datasets": [{"path": str(data), "type": "genpi_plugin.strategy", "split": "train"}],
        "test_datasets": [{"path": str(data), "type": "genpi_plugin.strategy", "split": "test"}],
        "output_dir": str(folder / "adapter"),
        "dataset_prepared_path": str(folder / "prepared"),
        "num_epochs": epochs,
        **CONFIG,
    }
    kept = yaml.safe_load((data / "synth.yaml").read_text("utf-8"))["target"]
    if kept.get("chat_template_kwargs"):
        config["chat_template_kwargs"] = kept["chat_template_kwargs"]
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run("axolotl", "train", path, "--launcher", "python")
    run("axolotl", "genpi-eval", path, "--max-new-tokens", 128,
         "--skip", "recitation,clauses,drift,disclosure,cost,turns")  # fmt: skip
    report = folder / "adapter" / "report" / "metrics.json"
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return found


def rejections(data: Path) -> str:
    """What was rejected behind the inputs, counted."""
    lines = map(json.loads, (data / "rejected.jsonl").read_text("utf-8").splitlines())
    counts = Counter(line["reason"] for line in lines if line["stage"] != "inputs")
    return ", ".join(f"{count} x {reason}" for reason, count in counts.most_common()) or "none"


def shown(thinking: str, metrics: dict[str, Any], data: Path) -> list[str]:
    """The figures of a run, a line each."""
    interval = metrics["internalization"]
    low, high = interval["ci_low"], interval["ci_high"]
    lines = [
        f"thinking: {thinking}; held-out inputs: {metrics['n']}; rejected: {rejections(data)}",
        f"  internalization {interval['value']:.2f} [{low:.2f}, {high:.2f}]",
    ]
    for name in ("teacher", "student", "floor"):
        figures = metrics["systems"][name]
        found = [f"{one} {figures[one]['value']:.2f}" for one in FIGURES if one in figures]
        lines.append(f"  {name}: " + ", ".join(found))
    return lines


def main() -> None:
    """Both ways, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="a folder")
    parser.add_argument("--folder", type=Path, default=Path("outputs/thinking"))
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", choices=["keep", "off"], help="one of them")
    options = parser.parse_args()
    model = thinking_model(options.model, options.folder / "model")
    for thinking in [options.only] if options.only else ["keep", "off"]:
        folder = options.folder / thinking
        metrics = made(thinking, model, folder, options.rows, options.epochs)
        print("\n".join(shown(thinking, metrics, folder / "data")))


if __name__ == "__main__":
    main()
