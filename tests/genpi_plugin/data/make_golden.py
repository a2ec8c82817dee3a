"""Rewrite the golden dumps; check the diff: `python -m tests.genpi_plugin.data.make_golden`."""

from __future__ import annotations

import json

from tests.genpi_plugin.data.test_chat import GOLDEN, pair_of, shown
from tests.tiny import TEMPLATES

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for template in sorted(TEMPLATES):
        view, _, pair = pair_of(template)
        content = {
            "behaviour": [shown(view, sequence) for sequence in pair.behaviour],
            "prompt_generation": [shown(view, sequence) for sequence in pair.prompt_generation],
            "behaviour_ids": [sequence.ids for sequence in pair.behaviour],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (GOLDEN / f"{template}.json").write_text(text + "\n")
