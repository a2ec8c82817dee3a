"""Rewrite the golden dumps; check the diff: `python -m tests.genpi_plugin.data.make_golden`."""

from __future__ import annotations

import json

from tests.genpi_plugin.data.test_chat import GOLDEN, dump, pair_of
from tests.tiny import TEMPLATES

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for template in sorted(TEMPLATES):
        content = dump(*pair_of(template, distill_weight=1.0)[::2])
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (GOLDEN / f"{template}.json").write_text(text + "\n")
