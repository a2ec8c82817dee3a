"""Rows for tests: the smallest that are right, to be broken one field at a time."""

from __future__ import annotations

from typing import Any

from genpi_plugin.args import GenPISettings

PROMPT = [
    {"role": "system", "content": "You are a shop assistant. Answer with one action."},
    {"role": "user", "content": "a red shirt"},
    {"role": "assistant", "content": "Action: search[red shirt]"},
]
TRANSCRIPT = "<USER>:\nYou are a shop assistant.\n\n<AGENT>:\nOk.\n\n<USER>:\nNow, my request is:\n"


def paper(**changes: Any) -> GenPISettings:
    """The paper's joint loss, but for `changes`: every row recites all of its prompt."""
    plain = {"prompt_generation_share": 1.0, "prompt_generation_piece": None, "distill_weight": 0.0}
    return GenPISettings(**{**plain, **changes})


def our_row(turns: int = 1, **changes: Any) -> dict[str, Any]:
    """A row of contract 1 with `turns` assistant turns."""
    conversation = []
    for turn in range(turns):
        if turn:
            conversation.append({"role": "user", "content": f"Observation: page {turn}"})
        conversation.append({"role": "assistant", "content": f"Action: click[item {turn}]"})
    row = {
        "id": "row-1",
        "prompt_id": "shop",
        "prompt": [dict(message) for message in PROMPT],
        "input": "I need a red cotton shirt, price lower than 40.00 dollars",
        "floor_output": "Sure, here are some shirts that I like.",
        "teacher_output": "Action: search[red cotton shirt]",
        "reason": "The prompt asks for an action, so the answer is one.",
        "conversation": conversation,
    }
    return {**row, **changes}


def official_row(**changes: Any) -> dict[str, Any]:
    """A row with the names that kaistAI/GenPI publishes; it ends on the environment."""
    row = {
        "context_id": 0,
        "context": TRANSCRIPT,
        "pseudo_input": "a red cotton shirt",
        "student_output_single": "Sure, here are some shirts.",
        "teacher_output_single": "Action: search[red cotton shirt]",
        "reason": "The context asks for an action.",
        "teacher_output_conv": [
            {"role": "assistant", "content": "Action: search[red cotton shirt]"},
            {"role": "user", "content": "[END_CONVERSATION]"},
        ],
    }
    return {**row, **changes}
