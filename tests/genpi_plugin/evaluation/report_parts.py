"""Texts, clauses and cost of the made-up evaluation in `report_made.py`."""

from __future__ import annotations

from typing import Any

PROMPT = """<SYSTEM>:
You are the search agent of an online shop. You never chat and never ask back.

- Answer with two lines: a thought and an action.
- The action is search[keywords].
- Leave the price out of the keywords.
- Be polite at all times.

<USER>:
i want a warm wool scarf in dark red, price lower than 30 dollars

<AGENT>:
Thought: The customer needs a wool scarf in dark red.
Action: search[dark red wool scarf]"""
RECITED = PROMPT.replace("price lower than 30 dollars", "price less than 50 dollars").replace(
    "\n- Be polite at all times.", ""
)
INPUTS = [
    "please find me a phone charger, price lower than 20 dollars",
    "i need a <script>alert('input')</script> poster",
    "a quiet desk fan that is easy to clean",
    "looking for a long brown leather belt & buckle",
]
TEACHER = [
    "Thought: The customer needs a phone charger.\nAction: search[phone charger]",
    "Thought: The customer needs a poster.\nAction: search[<b>script</b> poster]",
    "Thought: The customer needs a quiet desk fan.\nAction: search[quiet easy to clean desk fan]",
    "Thought: The customer needs a long brown leather belt.\nAction: search[brown leather belt",
]
STUDENT = [
    TEACHER[0],
    "Thought: The customer needs a poster.\nAction: search[script poster]",
    "Thought: The customer needs a quiet desk fan.\nAction: search[quiet desk fan]",
    "Thought: The customer wants a belt.\nAction: search[long brown belt]",
]
SHORTER = [answer.replace("The customer needs", "Wanted:") for answer in TEACHER]
FLOOR = [
    "I'm sorry, I can't look up prices of phone chargers. What would you like to know?",
    "Here is a poster: <script>alert('floor')</script>",
    "Desk fans come in many sizes. Here are some tips to choose a quiet one.",
    "A leather belt lasts for years if you take care of it.",
]


def interval(value: float | None, half: float = 0.0, half_up: float | None = None) -> dict:
    """A figure and its interval, `half` to each side."""
    if value is None:
        return {"value": None, "ci_low": None, "ci_high": None}
    up = half if half_up is None else half_up
    return {"value": value, "ci_low": value - half, "ci_high": value + up}


def made_clauses() -> dict[str, Any]:
    """Four clauses that matter, one of them not in the adapter, and one without effect."""
    parts = [
        (1, "paragraph", "You are the search agent of an online shop. You never chat and never "
         "ask back.", 21, 0.21, 0.91, 0.04),
        (2, "item", "- Answer with two lines: a thought and an action.", 12, 0.35, 0.95, 0.02),
        (3, "item", "- The action is search[keywords].", 9, 0.18, 0.88, 0.06),
        (4, "item", "- Leave the price out of the keywords.", 9, 0.09, 0.21, 0.15),
        (5, "item", "- Be polite at all times.", 7, 0.002, None, 0.0),
        (6, "turns", PROMPT[PROMPT.index("<USER>"):], 61, 0.61, 0.86, 0.03),
    ]  # fmt: skip
    total = sum(part[4] for part in parts)
    worst = {
        "input": INPUTS[0], "teacher": TEACHER[0], "student": STUDENT[0],
        "without": TEACHER[0].replace("[phone", "[phone 20 dollars"), "lost": 1.2,
        "kl_teacher_student": 0.31,
    }  # fmt: skip
    return {
        "n_inputs": 20, "n_available": 23, "dead_below": 0.01, "seconds": 12.0, "frame": [],
        "clauses": [
            {
                "number": number, "kind": kind, "name": "", "text": text, "tokens": tokens,
                "effect": interval(effect, effect / 5), "effect_share": effect / total,
                "internalized": None if share is None else interval(share, half),
                "students": {"student": None if share is None else interval(share, half)},
                "dead": share is None, "why": "",
                "worst": [] if share is None else [worst],
            }
            for number, kind, text, tokens, effect, share, half in parts
        ],
    }  # fmt: skip


def made_cost() -> dict[str, Any]:
    """A cached prefix is faster than the unmerged adapter here."""
    figures = {
        "prompt_cold": (203, 203, 5.1e10, 0.412, 1.61),
        "prompt_cached": (203, 46, 1.2e10, 0.121, 1.32),
        "adapter_unmerged": (46, 46, 1.25e10, 0.159, 1.71),
        "adapter_merged": (46, 46, 1.15e10, 0.109, 1.28),
    }
    settings = {
        name: {
            "request_tokens": sent, "prefill_tokens": read, "kv_cache_bytes": sent * 23040,
            "prefill_flops": flops, "decode_flops_per_token": 2.7e8, "answer_tokens": 32,
            "ttft_seconds": ttft, "latency_seconds": latency,
            "latency_range": [latency * 0.96, latency * 1.1],
        }
        for name, (sent, read, flops, ttft, latency) in figures.items()
    }  # fmt: skip
    grid = [
        {"setting": name, "turns": turns, "batch_size": batch, **one,
         "latency_seconds": one["latency_seconds"] * (1 + turns * 0.2) * (1 + batch * 0.1)}
        for turns in (1, 4) for batch in (1, 8) for name, one in settings.items()
    ]  # fmt: skip

    def saved(outcome: str, requests: int | None, seconds: float) -> dict[str, Any]:
        return {"outcome": outcome, "requests": requests, "saved": seconds,
                "saved_least": seconds, "saved_most": seconds}  # fmt: skip

    return {
        "request_tokens_with_prompt": 203.0,
        "request_tokens_without_prompt": 46.0,
        "request_tokens_saved_share": 1 - 46 / 203,
        "where": "in process",
        "settings": settings,
        "grid": grid,
        "break_even": {
            "spent": {
                "synthesis": {"seconds": 301.0, "flops": 2.1e13, "note": "run.log"},
                "training": {"seconds": 214.0, "flops": None, "note": "the adapter's manifest"},
            },
            "seconds": {
                "prompt_cold": {"adapter_merged": saved("paid_back", 1561, 0.33),
                         "adapter_unmerged": saved("never", None, -0.1)},
                "prompt_cached": {"adapter_merged": saved("paid_back", 12875, 0.04),
                           "adapter_unmerged": saved("never", None, -0.39)},
            },
            "flops": {
                "prompt_cold": {"adapter_merged": saved("paid_back", 533, 4.0e10),
                                "adapter_unmerged": saved("paid_back", 540, 3.9e10)},
            },
        },
        "verdict": "With the prefix cached, the prompt wins over the unmerged adapter.",
        "notes": [],
    }  # fmt: skip
