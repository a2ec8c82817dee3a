"""Which data an adapter was trained on, and from which step to which: the spans of its manifest.

Worked example. A run on one prompt is stopped at step 2 and resumed with another prompt's data:

    [{"data": {...}, "prompts": [A], "genpi": {...}, "from_step": 0, "to_step": 2},
     {"data": {...}, "prompts": [B], "genpi": {...}, "from_step": 2, "to_step": 4}]

Resumed with the same data, settings and requests to keep (`keep`, where there are some), it has one
span, as an uninterrupted run has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Span = dict[str, Any]
Manifest = Mapping[str, Any]
# What a span takes from the manifest of its run.
FACTS = ("data", "prompts", "genpi", "keep")


def spans_of(manifest: Manifest) -> list[Span]:
    """The spans in a manifest; those of version 1 hold the one they were written in."""
    if "spans" in manifest:
        return list(manifest["spans"])
    facts = {key: manifest.get(key) for key in FACTS}
    return [{**facts, "from_step": 0, "to_step": manifest.get("step")}]


def continued(manifest: Manifest, step: int, earlier: Manifest | None) -> list[Span]:
    """The spans of a run that begins at a step; the last one is its own, still open.

    Args:
        manifest: of this run.
        step: 0, or the step of the checkpoint that is resumed.
        earlier: the manifest beside that checkpoint, None where there is none.
    """
    facts = {key: manifest[key] for key in FACTS if key in manifest}
    own = {**facts, "from_step": step, "to_step": step}
    if not step:
        return [own]
    before = spans_of(earlier) if earlier else [_unknown(step)]
    if _same(before[-1], own):
        return [*before[:-1], {**before[-1], "to_step": step}]
    return [*before, own]


def difference(spans: list[Span]) -> str:
    """How the data of a resumed run differ from those before; "" where they do not.

    Settings that make no token (of requests to keep, say) may be others: the spans tell.
    """
    if len(spans) < 2 or spans[-1]["from_step"] == 0:
        return ""
    before, own = spans[-2:]
    step = own["from_step"]
    if _fingerprint(before) == _fingerprint(own):
        return ""
    if before["data"] is None:
        return f"the checkpoint of step {step} has no manifest: what it was trained on is unknown"
    if prompt_hashes([before]) == prompt_hashes([own]):
        return (
            f"until step {step} this adapter was trained on other data or settings "
            f"({_fingerprint(before)}, now {_fingerprint(own)})"
        )
    return (
        f"until step {step} this adapter was trained on another prompt "
        f"({_names(before)}, now {_names(own)})"
    )


def all_prompts(spans: Iterable[Span]) -> list[dict[str, Any]]:
    """Each prompt of the spans once."""
    found = {prompt["sha256"]: prompt for span in spans for prompt in span["prompts"] or []}
    return list(found.values())


def prompt_hashes(spans: Iterable[Span]) -> set[str]:
    return {prompt["sha256"] for prompt in all_prompts(spans)}


def _unknown(step: int) -> Span:
    return {**dict.fromkeys(FACTS), "from_step": 0, "to_step": step}


def _same(span: Span, other: Span) -> bool:
    facts = [(_fingerprint(one), one["genpi"], one.get("keep")) for one in (span, other)]
    return facts[0] == facts[1]


def _fingerprint(span: Span) -> str | None:
    return (span["data"] or {}).get("fingerprint")


def _names(span: Span) -> str:
    return ", ".join(prompt["prompt_id"] for prompt in span["prompts"] or []) or "unknown"
