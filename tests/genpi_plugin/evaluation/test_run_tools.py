"""A whole evaluation of rows with tools: what teacher and floor are asked."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
import yaml
from transformers import AutoTokenizer

from genpi_plugin.data import tokenizers
from genpi_plugin.evaluation.measuring.context import Options
from genpi_plugin.evaluation.run import evaluate
from tests.genpi_plugin.data.templates_walked import CALLING, TOOLS
from tests.genpi_plugin.evaluation.run_made import save_adapter, settings
from tests.genpi_plugin.rows_made import PROMPT, our_row
from tests.tiny import save_tiny

KEPT = [{"role": "user", "content": "name: Ada"}, {"role": "assistant", "content": "Noted."}]


def tool_row(name: str, tokenizer, **changes):
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    last = tokenizer(CALLING[3]["content"], add_special_tokens=False)["input_ids"]
    request = [{**CALLING[0], "content": f"{CALLING[0]['content']} {name}"}]
    row = our_row(
        id=name,
        tools=json.dumps(TOOLS),
        kept=KEPT,
        request=request,
        input=request[0]["content"],
        conversation=CALLING[1:],
        token_ids=[None, [*last, end]],
        tokenizer=tokenizers.mark(tokenizer),
    )
    return {**row, **changes}


@pytest.mark.slow
def test_rows_with_tools_are_evaluated_with_them(place):
    save_tiny(Path("calls"), "tools")
    save_adapter("calls", "adapters/calls")
    tokenizer = AutoTokenizer.from_pretrained("calls")
    for split, names in (("train", "ab"), ("test", "cde")):
        rows = [tool_row(f"{split}-{name}", tokenizer) for name in names]
        path = Path("calls-data") / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows).to_parquet(path)
    config = yaml.safe_load(Path("c.yml").read_text()) | {"base_model": "calls"}
    for entry in (*config["datasets"], *config["test_datasets"]):
        entry["path"] = "calls-data"
    Path("calls.yml").write_text(yaml.safe_dump(config))

    metrics = evaluate(
        settings(
            config="calls.yml",
            adapters=["adapters/calls"],
            skip=("drift", "disclosure"),
            options=Options(recitals=1),
            output="calls-report",
        )
    )
    assert [(turn["turn"], turn["n"]) for turn in metrics["turns"]] == [(1, 3), (2, 3)]
    assert metrics["systems"]["teacher"]["call_made"]["value"] == 1.0
    assert set(metrics) >= {"recitation", "clauses", "cost"}

    def length(messages, **more):
        for message in (copied := json.loads(json.dumps(messages))):
            for call in message.get("tool_calls", []):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        text = tokenizer.apply_chat_template(
            copied, tokenize=False, add_generation_prompt=True, **more
        )
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def mean(prompt, **more):
        rows = [tool_row(f"test-{name}", tokenizer) for name in "cde"]
        asked = [[*prompt, *row["kept"], *row["request"]] for row in rows]
        return sum(length(messages, **more) for messages in asked) / len(asked)

    # The schema is a clause of its own, and without it a request is shorter by its tokens.
    [tool] = [one for one in metrics["clauses"]["clauses"] if one["kind"] == "tool"]
    assert (tool["name"], json.loads(tool["text"])) == ("stock_of", TOOLS[0])
    assert tool["effect"]["value"] > 0

    cost = metrics["cost"]
    assert cost["tools_tokens"] == mean(PROMPT, tools=TOOLS) - mean(PROMPT) > tool["tokens"] / 2
    page = Path("calls-report/report.html").read_text("utf-8")
    assert f"{cost['tools_tokens']:.0f} of them (" in page
    assert cost["request_tokens_without_prompt"] == mean([])
    assert cost["request_tokens_with_prompt"] == mean(PROMPT, tools=TOOLS)
