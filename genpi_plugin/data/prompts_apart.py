"""Several prompts in one adapter: can the student tell from a request which of them is meant?

Without its prompt a request that two prompts share is one request with two different answers, and
the adapter learns a mixture of both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from genpi_plugin.data import digests
from genpi_plugin.data.rows import Row

# Beside the prepared data, because each dataset of a run is read on its own.
REQUESTS_FILE = "genpi_requests.json"


def shared_requests(folder: str | None, rows: Iterable[Row]) -> list[tuple[str, list[str]]]:
    """Requests that stand under several prompts, in these rows and those read before.

    Args:
        folder: of the prepared data, where requests are recorded by hash; None records nothing.
        rows: those whose student does not see the prompt.

    Returns:
        (input, ids of its prompts) for each such request among these rows, in their order.
    """
    path = Path(folder) / REQUESTS_FILE if folder else None
    recorded = json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else {}
    prompts: dict[str, dict[str, str]] = recorded
    found: dict[str, str] = {}
    for row in rows:
        mark = digests.of(row.student_request)
        under = prompts.setdefault(mark, {})
        under[digests.of([row.prompt, row.tools])] = row.prompt_id
        if len(under) > 1:
            found[mark] = row.input
    if path and prompts:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(prompts), encoding="utf-8")
    return [(request, sorted(prompts[mark].values())) for mark, request in found.items()]
