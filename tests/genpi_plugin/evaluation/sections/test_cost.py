"""What a prompt costs and an adapter saves: on paper, in process, on a server, and when it pays."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, MixtralConfig

from genpi_plugin.data.chat import ChatView
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.measured import Generated, Measured
from genpi_plugin.evaluation.measuring.context import Context, Options
from genpi_plugin.evaluation.sections.cost import measure_cost, summarize_cost, table_rows
from genpi_plugin.evaluation.sections.cost import section as cost_section
from genpi_plugin.evaluation.sections.cost.break_even import against_prompts, break_even, verdict
from genpi_plugin.evaluation.sections.cost.flops import (
    UnknownShapeError,
    cache_bytes,
    flop_counter,
    shape_of,
)
from genpi_plugin.evaluation.sections.cost.latency import measure_in_process
from genpi_plugin.evaluation.sections.cost.requests import SETTINGS, histories, typical
from genpi_plugin.evaluation.sections.cost.server import Server, measure_server
from genpi_plugin.evaluation.sections.cost.upfront import UpfrontCost, synthesis_cost, training_cost
from genpi_plugin.evaluation.subjects.inputs import HeldOut
from genpi_plugin.evaluation.subjects.subject import Subject
from tests import ROOT
from tests.genpi_plugin.evaluation.streaming import serve_stream
from tests.tiny import make_model, make_tokenizer

PROMPT = [{"role": "system", "content": "You are a shop assistant. Answer with one action. " * 20}]
SMOLLM2 = ROOT / "models" / "smollm2"
INPUTS = ["a red shirt", "I need a cotton shirt in size medium", "shirt", "results page, Buy Now"]
USER = [{"role": "user", "content": INPUTS[0]}]


def tiny_adapter(model=None):
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(model or make_model(), config).eval()


@pytest.fixture(scope="module")
def subjects():
    """Teacher, floor and student of one tiny model with an adapter."""
    model, view = tiny_adapter(), ChatView(make_tokenizer())
    model.enable_input_require_grads()  # as axolotl loads it
    return (
        Subject("teacher", model, view, PROMPT),
        Subject("floor", model, view),
        Subject("student", model, view, adapter=True),
    )


def context_of(subjects):
    teacher, floor, student = subjects
    answers = [Generated(list(range(5)), f"Action: search[{text}]", False) for text in INPUTS]
    return Context(
        data=HeldOut(INPUTS, PROMPT, "p", "test", 0),
        teacher=teacher,
        floor=floor,
        students=[student],
        measured=Measured(INPUTS, {"teacher": answers}, {}, [5] * len(INPUTS), {}, {}),
        scores={},
        max_new_tokens=8,
        progress=lambda label, total: contextlib.nullcontext(lambda n: None),
        seed=0,
    )


def small(kind, **more):
    sizes = {
        "vocab_size": 300, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 512,
    }  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(kind(**sizes, **more)).eval()


def forward(model, new, cached=0):
    """(FLOPs seen in a pass over `new` tokens behind `cached`, the cache after it)."""
    ids = torch.randint(1, 290, (1, cached + new), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        cache = None
        if cached:
            cache = model(input_ids=ids[:, :cached], use_cache=True).past_key_values
        with flop_counter() as counter:
            output = model(
                input_ids=ids[:, cached:], past_key_values=cache, use_cache=True, logits_to_keep=1
            )
    return counter.get_total_flops(), output.past_key_values


@pytest.mark.parametrize(("new", "cached"), [(150, 0), (20, 130), (1, 149)])
@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("kind", ["llama", "own head size", "sliding window"])
def test_flops_on_paper_are_those_that_the_model_does(kind, adapter, new, cached):
    model = {
        "llama": lambda: small(LlamaConfig),
        "own head size": lambda: small(LlamaConfig, head_dim=16),
        "sliding window": lambda: small(MistralConfig, sliding_window=40, head_dim=8),
    }[kind]()
    model = tiny_adapter(model)
    shape = shape_of(model)
    with contextlib.nullcontext() if adapter else model.disable_adapter():
        seen, cache = forward(model, new, cached)
    assert seen == pytest.approx(shape.flops(new, cached, adapter), rel=0.01)
    window = 40 if kind == "sliding window" else None
    # transformers keeps one token less than the window, once the window is full
    kept = shape.kv_bytes(150 if window is None else window - 1)
    assert cache_bytes(cache) == kept


def test_flops_and_bytes_by_hand():
    """One of everything, counted with a pencil."""
    model = small(LlamaConfig, torch_dtype=torch.bfloat16).to(torch.bfloat16)
    shape = shape_of(model)
    per_layer = 48 * 48 * 2 + 48 * 16 * 2 + 48 * 64 * 3  # q, o; k, v; gate, up, down
    assert shape.linear == 3 * per_layer
    assert shape.kv_bytes(10) == 10 * 3 * 2 * 8 * 2 * 2
    attention = 3 * 2 * (6 * 8) * 7 * (7 + 5)  # scores and values
    assert shape.flops(7, 5) == 2 * (7 * 3 * per_layer + 48 * 300 + attention)
    assert shape.decode_flops(12, 3) == sum(shape.flops(1, n) for n in (12, 13, 14))


def test_an_unmerged_adapter_costs_its_matrices():
    model = tiny_adapter(small(LlamaConfig))
    matrices = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    shape = shape_of(model)
    assert shape.flops(9, 4, adapter=True) - shape.flops(9, 4) == 2 * 9 * matrices
    assert shape.linear == shape_of(small(LlamaConfig)).linear


def test_a_head_with_an_adapter_is_used_once_a_request():
    config = LoraConfig(r=4, target_modules=["lm_head", "q_proj"], init_lora_weights=False)
    model = get_peft_model(small(LlamaConfig), config).eval()
    seen, _ = forward(model, 100)
    assert seen == pytest.approx(shape_of(model).flops(100, adapter=True), rel=0.01)


def test_what_is_not_known_is_not_guessed():
    experts = small(MixtralConfig, num_local_experts=2, num_experts_per_tok=1)
    with pytest.raises(UnknownShapeError, match="experts"):
        shape_of(experts)
    dora = LoraConfig(r=4, target_modules=["q_proj"], use_dora=True)
    with pytest.raises(UnknownShapeError, match="DoRA"):
        shape_of(get_peft_model(make_model(), dora))


def test_requests_of_several_turns_come_from_conversations_or_are_strung_together():
    long = [
        {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "u2"},
        {"role": "assistant", "content": "a2"},
    ]
    [two] = histories(["u1", "v1"], [long, long[:1]], ["x", "y"], 2)
    assert [message["content"] for message in two] == ["u1", "a1", "u2"]
    three = histories(["u1", "v1"], [long, long[:1]], ["x", "y"], 3)
    assert [m["content"] for m in three[1]] == ["v1", "y", "u1", "x", "v1"]
    assert [m["role"] for m in three[0]] == ["user", "assistant"] * 2 + ["user"]
    lengths = [[{"role": "user", "content": "x" * n}] for n in (9, 1, 5, 6, 2)]
    assert [
        len(messages[0]["content"])
        for messages in typical(lengths, lambda m: len(m[0]["content"]), 2)
    ] == [5, 6]


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


def measure_cost_here(context, server=None):
    """With nothing left behind by synthesis and training."""
    return measure_cost(
        context,
        Options(
            dataset=Path("nowhere"),
            adapter=Path("nowhere"),
            base_model="base",
            server=server,
            server_adapter="adapter",
        ),
    )


def test_the_cache_on_paper_is_the_models_own(subjects):
    teacher = subjects[0]
    ids = torch.tensor([teacher.request(USER)])
    with teacher.switched(), torch.inference_mode():
        cache = teacher.model(input_ids=ids, use_cache=True).past_key_values
    assert shape_of(teacher.model).kv_bytes(ids.shape[1]) == cache_bytes(cache)


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


def test_break_even_on_known_numbers():
    paid = break_even(100.0, prompt=[3.0, 5.0, 4.0], adapter=[1.0, 1.5, 1.2])
    assert (paid.outcome, paid.requests) == ("paid_back", 36)  # 100 / 2.8, rounded up
    assert (paid.saved, paid.saved_least, paid.saved_most) == pytest.approx((2.8, 2.0, 3.5))
    dearer = break_even(100.0, prompt=[1.0, 1.0], adapter=[1.1, 1.0])
    assert (dearer.outcome, dearer.requests) == ("never", None)
    assert break_even(100.0, [1.0, 1.0], [0.9, 1.1]).outcome == "unclear"
    unknown = break_even(None, [2.0], [1.0])
    assert (unknown.outcome, unknown.requests, unknown.saved) == ("unknown", None, 1.0)
    assert break_even(None, [1.0], [2.0]).outcome == "never"  # whatever was spent


@pytest.mark.parametrize(
    ("unmerged", "merged", "says"),
    [
        (0.5, 0.4, "The adapter wins against the cached prefix, too."),
        (1.2, 0.4, "the prompt wins over the adapter unmerged."),
        (1.2, 1.1, "the prompt wins: the adapter saves no time."),
    ],
)
def test_the_verdict_says_when_a_cached_prefix_wins(unmerged, merged, says):
    seconds = {"prompt_cold": 5.0, "prompt_cached": 1.0, "adapter_unmerged": unmerged,
               "adapter_merged": merged}  # fmt: skip
    table = against_prompts(450.0, {name: [value] for name, value in seconds.items()})
    said = verdict(seconds, table)
    assert said.endswith(says)
    assert f"after {-(-450 // (5.0 - merged)):.0f} requests" in said


def test_what_synthesis_took_is_read_from_its_folder(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"seconds": 70.5, "runs": 2}))
    (tmp_path / "synth.yaml").write_text("target: {model: base}\ngenerator: {model: base}\n")
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        db.execute("CREATE TABLE answers (key, answer)")
        for key, lengths in enumerate([(100, 3), (50, 1)]):
            counts = {"prompt_tokens": lengths[0], "completion_tokens": lengths[1]}
            db.execute("INSERT INTO answers VALUES (?, ?)", (key, json.dumps(counts)))
        db.commit()
    shape = shape_of(make_model())
    spent = synthesis_cost(tmp_path, "base", shape)
    assert spent.seconds == 70.5
    assert "2 run(s)" in spent.note
    by_hand = shape.flops(100) + shape.flops(1, 100) + shape.flops(1, 101) + shape.flops(50)
    assert spent.flops == by_hand

    other = synthesis_cost(tmp_path, "another", shape)
    assert other.flops is None
    assert "base is not the model evaluated" in other.note
    nothing = synthesis_cost(tmp_path / "gone", "base", shape)
    assert (nothing.seconds, nothing.flops) == (None, None)
    assert "run.json" in nothing.note
    (tmp_path / "run.json").write_text("torn")
    torn = synthesis_cost(tmp_path, "base", shape)
    assert torn.seconds is None
    assert "can't be read" in torn.note


def test_what_training_took_is_read_from_the_manifest(tmp_path):
    assert training_cost(tmp_path).seconds is None
    manifest = tmp_path / "genpi_manifest.json"
    manifest.write_text(json.dumps({"spent": {"seconds": 12.5, "flops": 3e12, "processes": 2}}))
    spent = training_cost(tmp_path)
    assert (spent.seconds, spent.flops) == (12.5, 3e12)
    assert "2 processes" in spent.note


def ask_server(server, subjects, adapter="adapter", tokens=8, repeats=2, model="base"):
    requests = {
        1: [[{"role": "user", "content": text}] for text in INPUTS],
        2: histories(INPUTS, [], ["x"] * len(INPUTS), 2),
    }
    return measure_server(
        Server(server.url, model, adapter), subjects[0], requests, tokens, lambda n: None, repeats
    )


def test_a_server_that_caches_prefixes_is_seen_to(subjects):
    with serve_stream(seconds_per_character=2e-4, seconds_per_token=0.002) as server:
        runs, notes = ask_server(server, subjects)
    assert notes == []
    first = {run.setting: run for run in runs if (run.turns, run.batch_size) == (1, 1)}
    assert list(first) == list(SETTINGS)
    cold, cached, unmerged, merged = (min(run.ttft_seconds) for run in first.values())
    assert cold > 0.16  # a thousand characters are read
    assert max(cached, unmerged, merged) < cold / 2
    assert first["prompt_cached"].cached_tokens > 200
    assert first["prompt_cold"].request_tokens > 5 * first["adapter_merged"].request_tokens
    assert all(min(run.latency_seconds) > 7 * 0.002 for run in runs)

    models = [body["model"] for body in server.asked]
    assert models.count("adapter") * 3 < len(models)
    texts = [body["messages"][0]["content"] for body in server.asked]
    cold_ones = [t for t in texts if t.startswith("[") and PROMPT[0]["content"] in t]
    assert len(set(cold_ones)) == len(cold_ones) > 10  # none like another: none can be reused
    assert texts.count(PROMPT[0]["content"]) > 10
    last = [body["messages"][-1]["content"] for body in server.asked if len(body["messages"]) < 3]
    assert len(set(last)) == len(last)  # what a user says is never reused


def test_a_server_that_caches_nothing_is_told_of_and_judged_by_the_cold_prompt(subjects):
    with serve_stream(caches=False, seconds_per_character=2e-4) as server:
        summary = summarize_cost(measure_cost_here(context_of(subjects), server=server.url))
    assert "does not seem to cache prefixes" in summary["notes"][0]
    assert set(summary["settings"]) == set(SETTINGS) - {"prompt_cached"}
    assert "cached" not in summary["verdict"]
    assert list(summary["break_even"]["seconds"]) == ["prompt_cold"]
    assert list(summary["break_even"]["flops"]) == ["prompt_cold"]


def test_an_adapter_that_is_not_served_is_left_out(subjects):
    with serve_stream(models=["base"], seconds_per_character=2e-4) as server:
        runs, notes = ask_server(server, subjects, adapter=None)
    assert {run.setting for run in runs} == set(SETTINGS) - {"adapter_unmerged"}
    assert "no name for the adapter" in notes[0]


def test_latency_is_that_of_the_tokens_asked_for(subjects):
    """Answers of three tokens at 20 ms; eight are to be compared."""
    with serve_stream(answer=["a", "b", "c"], seconds_per_token=0.02) as server:
        runs, _ = ask_server(server, subjects, tokens=8, repeats=1)
    for run in runs:  # three take 0.04 s, eight 0.14 s; a busy machine tells a little less or more
        assert 0.1 < run.latency_seconds[0] - run.ttft_seconds[0] < 0.6


def test_a_server_without_usage_has_its_tokens_counted_here(subjects):
    with serve_stream(tells_usage=False) as server:
        runs, notes = ask_server(server, subjects)
    by_setting = {run.setting: run for run in runs if run.turns == 1}
    assert by_setting["prompt_cold"].request_tokens >= len(subjects[0].request(USER))
    assert any("reports no token counts" in note for note in notes)


def test_a_server_that_answers_in_one_piece_is_told_of(subjects):
    """Usage says more tokens than there are pieces."""
    with serve_stream(answer=["all of it at once"]) as server:
        runs, notes = ask_server(server, subjects)
    assert not any("one piece" in note for note in notes)  # one token it is
    assert all(run.latency_seconds for run in runs)


def test_a_dead_server_is_named_with_the_cure(subjects):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dead = Server(f"http://127.0.0.1:{port}/v1", "base")
    with pytest.raises(GenPIError, match="no server at") as error:
        measure_server(dead, subjects[0], {1: [USER]}, 4, lambda n: None)
    assert "--server" in error.value.cure


def test_a_wrong_model_name_is_told_with_those_there_are(subjects):
    with (
        serve_stream(models=["base", "other"]) as server,
        pytest.raises(GenPIError, match="`adapter` does not exist") as error,
    ):
        ask_server(server, subjects)
    assert "--server-adapter" in error.value.cure
    assert "base, other" in error.value.cure


def test_a_server_that_does_not_stream_is_refused(subjects):
    with (
        serve_stream(streams=False) as server,
        pytest.raises(GenPIError, match="no text as a stream"),
    ):
        ask_server(server, subjects)


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


def test_in_process_requests_are_the_subjects_own(subjects):
    teacher, floor, student = subjects
    seen = measure_in_process(teacher, floor, student, {1: USER}, 3, lambda n: None, repeats=2)
    for run in seen.runs:
        subject = teacher if run.setting.startswith("prompt") else floor
        assert run.request_tokens == len(subject.request(USER))
        assert len(run.ttft_seconds) == len(run.latency_seconds) == 2


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="no models/smollm2: `make demo` fetches it")
def test_flops_of_smollm2_on_paper_and_seen():
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype=torch.bfloat16).eval()
    model = tiny_adapter(model)
    shape = shape_of(model)
    for adapter, new, cached in ((True, 40, 0), (False, 600, 0), (False, 40, 560)):
        with contextlib.nullcontext() if adapter else model.disable_adapter():
            seen, cache = forward(model, new, cached)
        assert seen == pytest.approx(shape.flops(new, cached, adapter), rel=0.001)
        assert cache_bytes(cache) == shape.kv_bytes(new + cached)
