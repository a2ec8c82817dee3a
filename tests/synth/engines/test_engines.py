"""The engines: what a server or a model is asked, what comes back, and what is said on failure."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from synth.engines.base import Answer, Message, Request, Sampling, Usage
from synth.engines.local.engine import TransformersEngine
from synth.engines.local.grouping import Group, choose_group, shared_prefix
from synth.engines.server.engine import OpenAIEngine
from synth.engines.weights import describe
from synth.errors import EngineError, RequestError, RowError
from tests.synth.server import Failure, Reply, ScriptedServer, serve, transformers_serve
from tests.tiny import CORPUS, save_tiny

PROMPT = (
    Message("system", " ".join(CORPUS) + " " + CORPUS[1]),
    Message("user", CORPUS[4]),
    Message("assistant", CORPUS[2]),
)
GREEDY = Sampling(max_tokens=24)
SAMPLED = Sampling(temperature=1.0, top_p=0.9, max_tokens=24)


def ask(text: str, sampling: Sampling = GREEDY, seed: int = 0, prompt=()) -> Request:
    return Request((*prompt, Message("user", text)), sampling, seed)


def answers(engine, requests: list[Request], one_by_one: bool = False) -> list[Answer]:
    """Ask all at once (or one after the other) and close the engine."""

    async def run() -> list[Answer]:
        try:
            if one_by_one:
                return [await engine.generate(request) for request in requests]
            return list(await asyncio.gather(*map(engine.generate, requests)))
        finally:
            await engine.close()

    return asyncio.run(run())


def echo(messages: list[dict[str, str]]) -> str:
    return "You said: " + messages[-1]["content"]


def on(server: ScriptedServer, **arguments) -> OpenAIEngine:
    return OpenAIEngine("tiny", server.url, **arguments)


# --- a server ---


def test_server_gets_the_request_and_its_reply_comes_back():
    with serve(echo) as server:
        request = ask("a red shirt", Sampling(0.7, 0.9, 64), seed=5, prompt=PROMPT)
        [answer] = answers(on(server), [request])
    assert (answer.text, answer.finish) == ("You said: a red shirt", "stop")
    assert answer.usage.completion_tokens == 5
    [body] = server.requests
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][0]["content"] == PROMPT[0].content
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.7, 0.9, 64)
    assert body["seed"] == 5


def test_greedy_request_sends_no_seed_and_no_top_p():
    with serve(echo) as server:
        answers(on(server), [ask("hello")])
    assert server.requests[0]["temperature"] == 0
    assert not {"seed", "top_p"} & set(server.requests[0])


def test_cut_and_empty_answers_are_told():
    with serve(lambda _: Reply("half an ans", "length")) as server:
        assert answers(on(server), [ask("hello")])[0].finish == "length"
    with serve(lambda _: None) as server:
        assert answers(on(server), [ask("hello")])[0] == Answer("", "stop", usage=Usage(1, 0))


@pytest.mark.parametrize("finish", ["abort", "error", "insufficient_system_resource"])
def test_an_answer_that_was_broken_off_is_asked_for_again(finish, monkeypatch):
    monkeypatch.setattr("synth.engines.endpoints.FIRST_PAUSE", 0.005)
    parts = iter([Reply("Thought: I should sea", finish), Reply("search[lamp]", "stop")])
    with serve(lambda messages: next(parts)) as server:
        [answer] = answers(on(server), [ask("a lamp")])
        assert (answer.text, server.count) == ("search[lamp]", 2)
    always = Reply("Thought: I should sea", finish)
    told = pytest.raises(RequestError, match=f"broke off an answer .{finish}.")
    with serve(lambda messages: always) as server, told:
        answers(on(server, max_retries=1), [ask("a lamp")])


def test_a_limit_under_another_name_is_taken_up():
    words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    refused = Failure(400, {"error": {"message": words}})
    with serve(echo) as server:
        handle = server.handle
        server.handle = lambda body, key: refused if "max_tokens" in body else handle(body, key)
        got = answers(on(server), [ask("hello"), ask("you")])
        assert {answer.text for answer in got} == {"You said: hello", "You said: you"}
        assert [body["max_completion_tokens"] for body in server.requests] == [24, 24]
        assert not [body for body in server.requests if "max_tokens" in body]


def test_fields_of_the_users_own_go_with_each_request_and_tell_answers_apart():
    own = {"reasoning_effort": "low", "temperature": None}
    with serve(echo) as server:
        engine = on(server, request_args=own, chat_template_kwargs={"enable_thinking": False})
        answers(engine, [ask("hello")])
        [body] = server.requests
        assert body["reasoning_effort"] == "low"
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert "temperature" not in body
        assert engine.identity == {
            "model": "tiny",
            "chat_template_kwargs": '{"enable_thinking": false}',
            "request_args": '{"reasoning_effort": "low", "temperature": null}',
        }
        assert on(server).identity == {"model": "tiny"}


def test_concurrency_is_kept():
    with serve(echo, delay=0.03) as server:
        got = answers(on(server, concurrency=3), [ask(str(i)) for i in range(12)])
    assert [answer.text for answer in got] == [f"You said: {i}" for i in range(12)]
    assert server.most_at_once == 3


def test_key_is_read_from_the_named_variable(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret-1")
    with serve(echo) as server:
        answers(on(server, api_key_env="MY_KEY"), [ask("hello")])
        answers(on(server, api_key_env="NOT_SET_ANYWHERE"), [ask("hello")])
    assert server.keys == ["Bearer secret-1", "Bearer none"]


def test_no_key_and_no_server_of_ones_own(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError, match="OPENAI_API_KEY is not set"):
        OpenAIEngine("gpt")


@pytest.mark.parametrize("failure", [Failure(503), Failure(429), Failure(0)])
def test_passing_failures_are_asked_again(failure):
    failure.headers["Retry-After"] = "0.01"
    with serve(echo) as server:
        server.failures = [failure, failure]
        [answer] = answers(on(server), [ask("hello")])
    assert answer.text == "You said: hello"
    assert server.refused == 2


def failed(server: ScriptedServer, model: str = "tiny", **arguments) -> Exception:
    engine = OpenAIEngine(model, server.url, max_retries=0, patience=0, **arguments)
    with pytest.raises((EngineError, RowError)) as caught:
        answers(engine, [ask("hello")])
    return caught.value


def test_no_server_names_the_url():
    with serve(echo) as server:
        url = server.url
    with pytest.raises(EngineError) as caught:
        answers(OpenAIEngine("tiny", url, max_retries=0), [ask("hello")])
    assert f"no server at {url}" in caught.value.cause
    assert "--base-url" in caught.value.cure


def test_slow_server_is_told_from_none():
    with serve(echo, delay=1) as server:
        error = failed(server, timeout=0.1)
    assert isinstance(error, EngineError)
    assert "did not answer within" in error.cause


def test_unknown_model_names_those_there_are():
    with serve(echo, models=["tiny", "small"]) as server:
        error = failed(server, model="tinny")
    assert isinstance(error, EngineError)
    assert "'tinny'" in error.cause
    assert "tiny, small" in error.cure


def test_wrong_path_is_told_from_a_wrong_model():
    with serve(echo) as server:
        engine = OpenAIEngine("tiny", server.url.removesuffix("/v1"), max_retries=0)
        with pytest.raises(EngineError) as caught:
            answers(engine, [ask("hello")])
    assert "ends in /v1" in caught.value.cure


@pytest.mark.parametrize(
    ("status", "words", "told"),
    [
        (401, "Incorrect API key provided", "refused the API key in OPENAI_API_KEY"),
        (429, "You exceeded your current quota", "You exceeded your current quota"),
        (500, "CUDA error", "CUDA error"),
        (402, "Add credits", "the account is used up: Add credits"),
    ],
)
def test_lasting_failures_stop_the_run_with_the_servers_words(status, words, told):
    with serve(echo) as server:
        server.always = Failure(status, {"error": {"message": words}})
        error = failed(server)
    assert isinstance(error, EngineError)
    assert told in error.cause
    assert error.cure


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Too many.", "code": "context_length_exceeded"}},
        {"error": {"message": "This model's maximum context length is 4096 tokens. However, ..."}},
        {"error": {"message": "the request exceeds the available context size", "code": 400}},
    ],
)
def test_too_long_a_request_rejects_its_row_only(body):
    with serve(echo) as server:
        server.always = Failure(400, body)
        error = failed(server)
    assert isinstance(error, RowError)
    assert error.reason == "longer than the model's context"


# --- which requests go together ---


def test_shared_prefix_equals_the_naive_count():
    draw = random.Random(0)
    for _ in range(200):
        a = [draw.randrange(2) for _ in range(draw.randrange(12))]
        b = [*a[: draw.randrange(12)], *(draw.randrange(2) for _ in range(draw.randrange(6)))]
        naive = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        assert shared_prefix(a, b) == (min(len(a), len(b)) if naive is None else naive)


def test_rows_with_the_prompt_go_together_and_share_it():
    prompt = list(range(1000, 1100))
    waiting = [[*prompt, i, i] for i in range(5)] + [[i, i, i] for i in range(5)]
    assert choose_group(waiting, [], size=16) == Group((0, 1, 2, 3, 4), 100)
    assert choose_group(waiting[5:] + waiting[:5], [], size=16) == Group((0, 1, 2, 3, 4), 0)
    assert choose_group(waiting, [], size=3).rows == (0, 1, 2)
    assert choose_group(waiting, [], size=16, share=False).prefix == 0


def test_what_two_rows_share_beyond_the_prompt_is_not_taken_for_the_prompt():
    prompt = list(range(1000, 1100))
    waiting = [[*prompt, 1, 1, 1, 1], [*prompt, 1, 1, 1, 2]] + [[*prompt, i] for i in range(3, 9)]
    assert choose_group(waiting, [], size=16).prefix == 100
    assert choose_group(waiting[:2], [100], size=16).prefix == 100


def test_a_lone_row_uses_a_known_prefix_and_leaves_a_token_to_read():
    ids = list(range(200))
    assert choose_group([ids], [150], size=16) == Group((0,), 150)
    assert choose_group([ids], [], size=16) == Group((0,), 0)
    assert choose_group([ids, ids], [], size=16) == Group((0, 1), 199)


def test_rows_of_unlike_length_are_not_padded_to_each_other():
    waiting = [[1] * 10, [2] * 900, [3] * 20]
    assert choose_group(waiting, [], size=16).rows == (0, 2)


def test_a_long_row_unlike_all_others_is_its_own_prefix():
    waiting = [[1] * 900, [2] * 900, [1] * 200]
    assert choose_group(waiting, [], size=16) == Group((0,), 899)
    assert choose_group(waiting, [], size=16, share=False).rows == (0, 1)
    assert choose_group(waiting, [500], size=16) == Group((0,), 500)
    many = [[kind] * 900 for kind in range(5)]
    assert choose_group(many, [], size=16) == Group((0, 1, 2, 3, 4), 0)


# --- a model in this process ---


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")


def engine(folder: Path, **arguments) -> TransformersEngine:
    return TransformersEngine(str(folder), dtype="float32", **arguments)


def plain_tokens(folder: Path, request: Request) -> list[int]:
    """What `generate` writes for this request alone, without anything of ours."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=request.sampling.max_tokens, do_sample=False)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


def plain_text(folder: Path, request: Request) -> str:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer.decode(plain_tokens(folder, request), skip_special_tokens=True)


def mixed_requests(sampling: Sampling = GREEDY) -> list[Request]:
    """With the prompt and without, short and long, more than fit a batch, unlike limits."""
    texts = [CORPUS[i % 5][: 5 + 7 * i] for i in range(10)]
    with_prompt = [
        ask(text, Sampling(sampling.temperature, sampling.top_p, 10 + 8 * i), i, PROMPT)
        for i, text in enumerate(texts)
    ]
    return with_prompt + [ask(text, sampling, i) for i, text in enumerate(texts)]


def test_answers_are_those_of_plain_generate(tiny):
    requests = mixed_requests()
    model = engine(tiny, batch_size=4)
    got = answers(model, requests)
    assert [a.text for a in got] == [plain_text(tiny, request) for request in requests]
    assert len({a.text for a in got}) > 10


def tokens_read(model: TransformersEngine) -> list[int]:
    """Grows by what goes through the model from now on, call by call."""
    model._load()
    read: list[int] = []
    model._local.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: read.append(inputs[0].numel())
    )
    return read


def test_the_prompt_is_read_once(tiny):
    requests = [ask(text, Sampling(max_tokens=1), prompt=PROMPT) for text in "abcdefghijkl"]
    model = engine(tiny, batch_size=4)
    read = tokens_read(model)
    length = len(model._local.render(requests[0]))
    answers(model, requests)
    assert length > 150
    assert sum(read) < length + 12 * 20


def test_a_long_prompt_is_known_from_the_first_request_that_came_alone(tiny):
    from synth.engines.local.model import GRAIN

    prompt = (Message("system", " ".join(CORPUS * 7)),)
    requests = [ask(text, Sampling(max_tokens=1), prompt=prompt) for text in ("one", "another")]
    model = engine(tiny)
    read = tokens_read(model)
    lengths = [len(model._local.render(request)) for request in requests]
    got = answers(model, requests, one_by_one=True)
    assert lengths[0] > 550
    assert sum(read) < lengths[0] + 20 + GRAIN
    assert [answer.text for answer in got] == [plain_text(tiny, request) for request in requests]


def test_rows_with_unlike_prefixes_are_decoded_in_one_batch(tiny, monkeypatch):
    from synth.engines.local import model as local

    other = (Message("system", "Another prompt. " + " ".join(CORPUS[::-1])),)
    requests = [
        ask(text, Sampling(max_tokens=40), prompt=prompt)
        for text in CORPUS
        for prompt in (PROMPT, other, ())
    ]
    beside = []
    real = local.LocalModel.advance

    def watched(self, batch, most, stop):
        beside.append(len({row.prefix and row.prefix.tokens for row in batch.rows}))
        return real(self, batch, most, stop)

    monkeypatch.setattr(local.LocalModel, "advance", watched)
    got = answers(engine(tiny), requests)
    assert beside[0] == 3
    assert [answer.text for answer in got] == [plain_text(tiny, request) for request in requests]


def test_memory_is_let_go_of(tiny):
    """Of rows that are over, of prefixes long not used, and in the end of all."""
    import gc
    import weakref

    from synth.engines.local.batch import Row, merged
    from synth.engines.local.model import KEPT_PREFIXES, LocalModel

    local = LocalModel(str(tiny), "float32", {})
    texts = ["a", "b" * 300, "c"]
    rows = [Row(ask(text), local.render(ask(text)), 9) for text in texts]
    batch = local.start(rows, 0)
    before = batch.layers[0].keys
    rows[1].ended = True
    batch = merged([batch])
    assert batch.rows == [rows[0], rows[2]]
    assert batch.used == len(rows[0].ids)
    assert batch.layers[0].keys.numel() < before.numel() / 3
    gone = weakref.ref(batch.layers[0].keys)
    rows[0].ended = rows[2].ended = True
    assert merged([batch]) is None
    del batch
    assert gone() is None
    caches = [weakref.ref(local._prefix([i] * 70).cache) for i in range(KEPT_PREFIXES + 2)]
    assert [cache() is None for cache in caches] == [True] * 2 + [False] * KEPT_PREFIXES
    model = engine(tiny)
    model._local = local
    weights = weakref.ref(local.model)
    del local
    answers(model, [ask("x", prompt=PROMPT), ask("y", prompt=PROMPT)])
    assert (model._local, model._batching) == (None, None)
    gc.collect()
    assert weights() is None


def test_without_sharing_answers_are_the_same(tiny, monkeypatch):
    from synth.engines.local import model as local

    requests = mixed_requests()
    shared = answers(engine(tiny), requests)
    monkeypatch.setattr(local, "enable_sharing", lambda model, read: False)
    assert answers(engine(tiny), requests) == shared


def test_sampling_does_not_depend_on_the_rows_beside(tiny):
    requests = mixed_requests(SAMPLED)
    together = answers(engine(tiny, batch_size=7), requests)
    alone = answers(engine(tiny, batch_size=7), requests[::-1], one_by_one=True)
    assert together == alone[::-1]


def test_seeds_draw_anew_and_repeat(tiny):
    requests = [ask("a red shirt", SAMPLED, seed) for seed in range(8)]
    first = answers(engine(tiny), requests)
    assert len({answer.text for answer in first}) > 4
    assert answers(engine(tiny), requests) == first


def test_draws_follow_the_distribution():
    import torch

    from synth.engines.local.sampling import next_tokens

    probs = torch.tensor([0.05, 0.5, 0.15, 0.3])
    rows = 4000
    scores = (2 * probs.log()).expand(rows, 4)
    tokens = next_tokens(
        scores, [Sampling(2.0, 0.9)] * rows, [random.Random(seed) for seed in range(rows)]
    )
    share = torch.bincount(tokens, minlength=4) / rows
    assert share[0] == 0  # the others reach top_p without it
    torch.testing.assert_close(share[1:], probs[1:] / 0.95, atol=0.03, rtol=0)


def test_greedy_rows_take_the_likeliest_beside_sampled_ones():
    import torch

    from synth.engines.local.sampling import next_tokens

    scores = torch.zeros(2, 50).index_fill(1, torch.tensor([7]), 0.1)
    drawn = {
        tuple(next_tokens(scores, [Sampling(), Sampling(1.0)], [random.Random(seed)] * 2).tolist())
        for seed in range(20)
    }
    assert {greedy for greedy, _ in drawn} == {7}
    assert len({sampled for _, sampled in drawn}) > 5


@pytest.mark.parametrize("value_dim", [8, 10], ids=["kernel", "by hand"])
def test_attention_over_shared_prefixes_is_the_ordinary_one(value_dim):
    """Three rows share one prefix, one has none, two share another; a CPU's kernel takes values
    as wide as the keys, other values and devices go the other way."""
    import torch

    from genpi_plugin.reading.shared_attention import Share, attend

    torch.manual_seed(0)
    rows, heads, kv_heads, new, own, dim = 6, 6, 2, 4, 7, 8
    query = torch.randn(rows, heads, new, dim)
    key = torch.randn(rows, kv_heads, own, dim)
    value = torch.randn(rows, kv_heads, own, value_dim)
    shares = [
        Share(first, end, torch.randn(kv_heads, n, dim), torch.randn(kv_heads, n, value_dim))
        for first, end, n in ((0, 3, 11), (4, 6, 5))
    ]
    mask = torch.ones(new, own, dtype=torch.bool).tril(own - new).expand(rows, 1, new, own).clone()
    mask[1, :, :, :3] = False
    got = attend(query, key, value, mask, shares)
    for row in range(rows):
        prefix = next((share for share in shares if share.first <= row < share.end), None)
        keys, values, seen = key[row], value[row], mask[row]
        if prefix:
            keys = torch.cat([prefix.keys, keys], dim=1)
            values = torch.cat([prefix.values, values], dim=1)
            ones = torch.ones(1, new, prefix.keys.shape[1], dtype=torch.bool)
            seen = torch.cat([ones, seen], dim=-1)
        expected = torch.nn.functional.scaled_dot_product_attention(
            query[row], *(part.repeat_interleave(heads // kv_heads, 0) for part in (keys, values)),
            attn_mask=seen, scale=1.0,
        )  # fmt: skip
        torch.testing.assert_close(got[row], expected)


@pytest.mark.parametrize("template", ["llama3", "gemma", "thinking"])
def test_answers_end_where_the_template_ends_a_turn(template, tmp_path):
    """As in models whose configuration names another end token than their template uses."""
    from transformers import AutoTokenizer, GenerationConfig

    from synth.engines.local.model import LocalModel

    folder = save_tiny(tmp_path, template)
    GenerationConfig(eos_token_id=0).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.eos_token_id
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    assert LocalModel(str(folder), "float32", {}).end_ids == [0, end]


def test_end_token_stops_and_limit_cuts(tiny):
    """The token that ends the answer is not part of its text, and is among its tokens."""
    from synth.engines.local.model import LocalModel

    request = ask("a red shirt", Sampling(max_tokens=12))
    tokens = plain_tokens(tiny, request)
    local = LocalModel(str(tiny), "float32", {})
    model = engine(tiny)
    model._local = local
    [cut] = answers(model, [request])
    assert (cut.finish, cut.usage.completion_tokens) == ("length", 12)
    assert cut.token_ids == tuple(tokens[:12])
    local = LocalModel(str(tiny), "float32", {})
    at = next(i for i in range(3, 12) if tokens[i] not in tokens[:i])
    local.end_ids = [tokens[at]]
    model = engine(tiny)
    model._local = local
    [ended] = answers(model, [request])
    assert (ended.finish, ended.usage.completion_tokens) == ("stop", at)
    assert ended.token_ids == tuple(tokens[: at + 1])
    assert cut.text.startswith(ended.text)


def test_an_engine_says_how_much_it_works_on_at_once_and_what_it_takes(tiny):
    from synth.engines.local.engine import BATCH_SIZE
    from synth.engines.local.model import device_type

    assert engine(tiny, batch_size=5).capacity == 5
    assert engine(tiny).capacity == BATCH_SIZE[device_type()]
    assert OpenAIEngine("m", ["http://one/v1", "http://two/v1"], concurrency=48).capacity == 48

    async def asked(model):
        try:
            scorer = await model.scorer()
            request = ask("a red shirt")
            ids = await scorer.tokens(request)
            assert ids == (await model.generate(request)).usage.prompt_tokens
            assert await scorer.tokens(request, "search[red shirt]") > ids
            return scorer.exact, await model.context()
        finally:
            await model.close()

    assert asyncio.run(asked(engine(tiny))) == (True, 2048)


def test_too_long_a_request_rejects_its_row(tiny):
    async def run():
        model = engine(tiny)
        results = await asyncio.gather(
            model.generate(ask("word " * 3000)), model.generate(ask("short")),
            return_exceptions=True,
        )  # fmt: skip
        await model.close()
        return results

    long, short = asyncio.run(run())
    assert isinstance(long, RowError)
    assert "2048" in long.detail
    assert isinstance(short, Answer)


def test_template_without_system_role_names_the_cure(tmp_path):
    folder = save_tiny(tmp_path, "gemma")
    with pytest.raises(EngineError) as caught:
        answers(engine(folder), [ask("hello", prompt=PROMPT)])
    assert "System role not supported" in caught.value.cause
    assert "prompt_role: user" in caught.value.cure


def test_no_model_folder():
    with pytest.raises(EngineError, match=r"no model folder \./nothing/here"):
        TransformersEngine("./nothing/here")


def test_folder_without_a_model(tmp_path):
    with pytest.raises(EngineError, match=r"no config\.json"):
        TransformersEngine(str(tmp_path))


def test_folder_without_weights(tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(EngineError, match="can't be loaded"):
        answers(engine(folder), [ask("hello")])


def test_no_chat_template(tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(EngineError, match="no chat template"):
        answers(engine(folder), [ask("hello")])


def test_unknown_dtype(tiny):
    with pytest.raises(EngineError, match="no dtype 'float7'"):
        _ = TransformersEngine(str(tiny), dtype="float7").identity


def test_identity_follows_the_content_not_the_place(tiny, tmp_path):
    import shutil

    moved = tmp_path / "elsewhere" / "model"
    shutil.copytree(tiny, moved)
    assert describe(str(moved)) == describe(str(tiny))
    assert str(tmp_path) not in str(engine(moved).identity)
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert describe(str(moved)) != describe(str(tiny))


def test_closing_cancels_what_is_under_way(tiny):
    async def run():
        model = engine(tiny)
        tasks = [
            asyncio.create_task(model.generate(ask(str(i), Sampling(max_tokens=1900))))
            for i in range(3)
        ]
        await asyncio.sleep(0.5)
        await asyncio.wait_for(model.close(), timeout=5)
        return await asyncio.gather(*tasks, return_exceptions=True)

    # The model is random: one of them may have come to its end by then.
    ends = [type(end) for end in asyncio.run(run())]
    assert asyncio.CancelledError in ends
    assert set(ends) <= {asyncio.CancelledError, Answer}


def test_a_caller_that_gives_up_does_not_hold_up_the_others(tiny):
    async def run():
        model = engine(tiny, batch_size=2)
        await model.generate(ask("warm", Sampling(max_tokens=1)))
        gone = asyncio.create_task(model.generate(ask("gone", Sampling(max_tokens=1900))))
        stays = asyncio.create_task(model.generate(ask("stays")))
        await asyncio.sleep(0.1)
        gone.cancel()
        answer = await stays
        await asyncio.sleep(0.2)
        assert not model._batching._futures
        assert model._batching._batch is None
        await model.close()
        return answer

    assert asyncio.run(run()).usage.completion_tokens == 24


def test_lack_of_memory_halves_the_batch(tiny, monkeypatch):
    import torch

    from synth.engines.local import model as local

    real, sizes = local.LocalModel.start, []

    def start(self, rows, prefix):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, rows, prefix)

    requests = [ask(text, SAMPLED) for text in "abcdefgh"]
    expected = answers(engine(tiny), requests)
    monkeypatch.setattr(local.LocalModel, "start", start)
    assert answers(engine(tiny, batch_size=8), requests) == expected
    # Once more without what was kept, then half, and half again.
    assert [size for size in sizes if size > 2] == [8, 8, 4]


def test_after_a_lack_of_memory_the_batch_grows_again(tiny, monkeypatch):
    import torch

    from synth.engines.local import model as local

    real, sizes, lacks = local.LocalModel.start, [], iter([True, True])

    def start(self, rows, prefix):
        sizes.append(len(rows))
        if next(lacks, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, rows, prefix)

    monkeypatch.setattr(local.LocalModel, "start", start)
    monkeypatch.setattr("synth.engines.local.scheduler.RECOVERY", 1)
    schedulers, begin = [], TransformersEngine._start

    def started(self):
        schedulers.append(begin(self))
        return schedulers[-1]

    monkeypatch.setattr(TransformersEngine, "_start", started)
    requests = [ask(text, Sampling(max_tokens=40)) for text in "abcdefghijklmnopqrstuvwx"]
    model = engine(tiny, batch_size=8)
    answers(model, requests)
    assert sizes[:3] == [8, 8, 4]
    assert schedulers[0]._size() == 8


def test_a_lack_of_memory_leaves_nothing_of_its_round(tiny, monkeypatch):
    """The error's frames would hold the round's tensors while it is tried again."""
    import weakref

    import torch

    from synth.engines.local import model as local

    real, held, alive = local.LocalModel.start, [], []

    def start(self, rows, prefix):
        alive.append([one() is not None for one in held])
        large = torch.zeros(10)
        if len(held) < 2:
            held.append(weakref.ref(large))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, rows, prefix)

    monkeypatch.setattr(local.LocalModel, "start", start)
    answers(engine(tiny, batch_size=4), [ask(text) for text in "abcd"])
    assert alive[:3] == [[], [False], [False, False]]


def test_an_error_between_rounds_reaches_its_callers(tiny, monkeypatch):
    """Of a model whose shape is none that is known, for one: nobody may wait for ever."""
    from synth.engines.local import model as local

    def free_bytes(self):
        raise AttributeError("no such thing")

    async def run(model):
        with pytest.raises(AttributeError, match="no such thing"):
            await asyncio.wait_for(asyncio.gather(*map(model.generate, [ask("a"), ask("b")])), 30)
        await model.close()

    monkeypatch.setattr(local.LocalModel, "free_bytes", free_bytes)
    asyncio.run(run(engine(tiny)))


def test_kept_beginnings_take_a_part_of_the_memory_at_most(tiny, monkeypatch):
    from synth.engines.local import model as local

    model = local.LocalModel(str(tiny), "float32", {})
    config = model.model.config
    by_hand = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    assert model.bytes_per_token == by_hand
    monkeypatch.setattr(local, "total_bytes", lambda device: 5 * 250 * by_hand)
    ids = [(at * 31) % 300 for at in range(900)]
    for start in (0, 100, 200, 300):
        model._prefix(ids[start : start + 100])
    assert sum(prefix.tokens for prefix in model._prefixes.values()) == 200


def test_an_error_in_the_model_reaches_its_callers(tiny, monkeypatch):
    from synth.engines.local import model as local

    def advance(self, batch, most, stop):
        raise RuntimeError("broken")

    monkeypatch.setattr(local.LocalModel, "advance", advance)
    with pytest.raises(RuntimeError, match="broken"):
        answers(engine(tiny), [ask("hello"), ask("you")])


@pytest.mark.slow
def test_a_real_server_and_this_process_give_the_same_greedy_answers(tiny):
    requests = [ask(text, prompt=PROMPT) for text in CORPUS]
    with transformers_serve(tiny) as url:
        served = answers(OpenAIEngine(str(tiny), url, concurrency=2), requests)
        with pytest.raises(EngineError, match="nobody"):
            answers(OpenAIEngine("nobody", url), requests[:1])
    assert served == answers(engine(tiny), requests)


def test_an_answer_ends_at_the_models_context(tiny):
    [answer] = answers(engine(tiny), [ask("word " * 660, Sampling(max_tokens=1000))])
    assert answer.finish == "length"
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == 2048


SIZES = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2,
    "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "shares"),
    [
        ("Qwen3", {}, True),  # normalizes queries and keys
        ("Llama", {"num_key_value_heads": 1}, True),
        ("Phi3", {}, True),
        ("GPT2", {"n_embd": 32, "n_head": 4, "n_layer": 2}, True),  # positions are learned
        ("DeepseekV3", {  # latent attention: what is cached is yet to become keys and values
            "num_key_value_heads": 4, "head_dim": 4, "kv_lora_rank": 8, "q_lora_rank": 16,
            "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "n_routed_experts": 4,
            "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
        }, False),
        ("Mistral", {"sliding_window": 16}, False),
        ("Mamba", {"state_size": 8}, False),  # no attention, nothing to cut into rows
        ("RecurrentGemma", {"attention_window_size": 2048, "lru_width": 32,
                            "block_types": ["recurrent", "attention"]}, False),  # pads badly
        ("Phi3", {"original_max_position_embeddings": 64, "max_position_embeddings": 2048,
                  "rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 4,
                                   "long_factor": [4.0] * 4}}, False),  # by the longest row
        ("Gemma2", {"sliding_window": 16}, False),  # every other layer, and capped scores
        ("Gemma2", {"layer_types": ["full_attention"] * 2}, False),  # capped scores alone
    ],
)  # fmt: skip
def test_other_models_are_answered_as_by_plain_generate(name, changes, shares, tmp_path):
    """Where rows can't share a prefix, whole batches go through `generate`, padded."""
    import torch
    import transformers

    folder = save_tiny(tmp_path)
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **changes})
    getattr(transformers, f"{name}{'LMHeadModel' if name == 'GPT2' else 'ForCausalLM'}")(
        config
    ).save_pretrained(folder)
    requests = mixed_requests()[::2]
    model = engine(folder, batch_size=4)
    model._load()
    assert model._local.shares == shares
    got = asyncio.run(asyncio.wait_for(all_answers(model, requests), 120))
    assert [answer.text for answer in got] == [plain_text(folder, r) for r in requests]


async def all_answers(model, requests):
    got = await asyncio.gather(*map(model.generate, requests))
    await model.close()
    return got


def test_a_model_that_cannot_share_is_named_once(tmp_path, caplog):
    from transformers import MistralConfig, MistralForCausalLM

    folder = save_tiny(tmp_path)
    MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16)).save_pretrained(folder)
    caplog.set_level("INFO", logger="synth")
    answers(engine(folder), [ask("one", GREEDY), ask("two", GREEDY)])
    told = [record.message for record in caplog.records if "plain `generate`" in record.message]
    assert len(told) == 1
    assert "mistral" in told[0]


def test_in_bfloat16_scores_differ_by_rounding_alone(tiny):
    """The shared prefix is as far from float32 as bfloat16 is by itself."""
    import torch

    from synth.engines.local.batch import Row
    from synth.engines.local.model import LocalModel

    requests = [ask(text, prompt=PROMPT) for text in CORPUS]

    @torch.inference_mode()
    def scores(dtype: str, shared: bool) -> torch.Tensor:
        local = LocalModel(str(tiny), dtype, {})
        rows = [Row(request, local.render(request), 1) for request in requests]
        if shared:
            return local._read(rows, 60)[1]
        return torch.cat([local.model(torch.tensor([row.ids])).logits[:, -1] for row in rows])

    exact = scores("float32", shared=False)
    torch.testing.assert_close(scores("float32", shared=True), exact, atol=1e-4, rtol=1e-4)
    plain = (scores("bfloat16", shared=False) - exact).norm()
    assert 0 < (scores("bfloat16", shared=True) - exact).norm() < 1.5 * plain


def test_importing_the_engines_imports_nothing_heavy():
    script = (
        "import sys, synth.engines.server.engine, synth.engines.local.engine; "
        "sys.exit(', '.join({'torch', 'transformers', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""
