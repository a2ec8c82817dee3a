"""The section on cost: the four settings in process, and a model of unknown shape."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from transformers import MixtralConfig

from genpi_plugin.evaluation.sections.cost import section as cost_section
from genpi_plugin.evaluation.sections.cost import summarize_cost, table_rows
from genpi_plugin.evaluation.sections.cost.requests import SETTINGS
from genpi_plugin.evaluation.sections.cost.upfront import UpfrontCost
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.evaluation.sections.cost.cost_made import (
    USER,
    context_of,
    measure_cost_here,
    small,
)
from tests.genpi_plugin.evaluation.streaming import serve_stream


def test_the_four_settings_are_measured_and_no_weight_is_touched(subjects):
    before = {name: p.clone() for name, p in subjects[0].model.named_parameters()}
    cost = measure_cost_here(context_of(subjects))
    for name, parameter in subjects[0].model.named_parameters():
        assert torch.equal(parameter, before[name])
    assert not any(getattr(m, "merged", False) for m in subjects[0].model.modules())

    summary = summarize_cost(cost)
    assert json.loads(json.dumps(summary)) == summary
    json.dumps(asdict(cost))
    settings = summary["settings"]
    assert list(settings) == list(SETTINGS)
    prompt = len(subjects[0].request(USER)) - len(subjects[1].request(USER))
    cold, cached, unmerged, merged = settings.values()
    assert cold["request_tokens"] - merged["request_tokens"] == prompt
    assert cached["prefill_tokens"] < 30 < cold["prefill_tokens"]
    assert cached["kv_cache_bytes"] == cold["kv_cache_bytes"] > unmerged["kv_cache_bytes"]
    assert cached["kv_cache_bytes_shared"] > 0.8 * cached["kv_cache_bytes"]
    assert unmerged["kv_cache_bytes"] == merged["kv_cache_bytes"]
    # attention over the cached prefix is paid for: more than the merged adapter, less than cold
    assert merged["prefill_flops"] < cached["prefill_flops"] < cold["prefill_flops"]
    assert merged["decode_flops_per_token"] < cached["decode_flops_per_token"]
    assert merged["prefill_flops"] < unmerged["prefill_flops"]
    for figures in settings.values():
        assert figures["prefill_flops"] == pytest.approx(figures["prefill_flops_counted"], rel=0.05)
        assert 0 < figures["ttft_seconds"] < figures["latency_seconds"]
    # in FLOPs a cached prefix costs attention, and nothing else once each start is cached
    flops = summary["break_even"]["flops"]
    assert flops["prompt_cold"]["adapter_merged"]["saved"] == (
        cold["request_flops"] - merged["request_flops"]
    )
    shape, steps = cost.shape, cold["answer_tokens"] - 1
    saved = sum(
        2 * 2 * 2 * shape.heads * shape.head_dim * new * prompt  # 2 layers, scores and values
        for new in (cached["prefill_tokens"], *[1] * steps)
    )
    assert flops["prompt_cached"]["adapter_merged"]["saved"] == pytest.approx(saved, rel=0.02)
    assert len(summary["grid"]) == 4 * 2 * 2
    assert {(row["turns"], row["batch_size"]) for row in summary["grid"]} == {
        (1, 1), (1, 4), (3, 1), (3, 4)
    }  # fmt: skip
    assert summary["notes"] == []
    assert [row[0] for row in table_rows(summary)][1:] == [n.replace("_", " ") for n in SETTINGS]


def test_a_model_of_unknown_shape_is_timed_all_the_same(subjects):
    context = context_of(subjects)
    experts = small(MixtralConfig, num_local_experts=2, num_experts_per_tok=1)
    experts.resize_token_embeddings(600)
    views = [Subject(s.name, experts, s.view, s.prompt) for s in subjects]
    summary = summarize_cost(measure_cost_here(context_of(views)))
    assert context.students[0].name == "student"
    assert "kv_cache_bytes" not in summary["settings"]["prompt_cold"]
    assert summary["settings"]["prompt_cold"]["latency_seconds"] > 0
    assert "experts" in summary["notes"][0]
    assert summary["break_even"]["flops"] is None
    assert table_rows(summary)[1][3] == "unknown"


def test_the_section_measures_a_server_too(subjects, monkeypatch):
    monkeypatch.setattr(cost_section, "REPEATS", 1)
    with serve_stream() as server:
        cost = measure_cost_here(context_of(subjects), server=server.url)
    summary = summarize_cost(cost)
    assert summary["where"] == server.url
    assert "prefill_flops_counted" not in summary["settings"]["prompt_cold"]
    assert summary["settings"]["prompt_cold"]["request_tokens"] > 100
    assert summary["break_even"]["spent"]["synthesis"]["seconds"] is None
    assert isinstance(cost.training, UpfrontCost)
