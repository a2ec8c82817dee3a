"""Importing engines is cheap."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_engines_imports_nothing_heavy():
    script = (
        "import sys, synth.engines.server.engine, synth.engines.local.engine; "
        "sys.exit(', '.join({'torch', 'transformers', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""
