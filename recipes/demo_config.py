"""Which YAML the demo runs here: the recipe, or a copy in float32 where bfloat16 is slow.

    python recipes/demo_config.py recipes/genpi_demo.yml outputs/genpi_demo_float32.yml

prints its path.
"""

from __future__ import annotations

import sys
from pathlib import Path

from genpi_plugin.training.cpu import gains_by_bfloat16


def config_for(recipe: Path, copy: Path, bfloat16: bool) -> Path:
    """The recipe, or where bfloat16 is slow its copy, which differs in that alone."""
    if bfloat16:
        return recipe
    text = recipe.read_text(encoding="utf-8")
    changed = text.replace("\nbf16: true\n", "\nbf16: false\n")
    if changed == text:
        sys.exit(f"{recipe} has no line `bf16: true`.")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(changed, encoding="utf-8")
    return copy


if __name__ == "__main__":
    recipe, copy = map(Path, sys.argv[1:])
    print(config_for(recipe, copy, gains_by_bfloat16()))
