"""vLLM in this process, against a fake of the few calls that are made. It was tried by hand with
vLLM's CPU build; `test_engines` has the engine that is compared token for token."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest

from genpi_plugin.data import tokenizers
from synth.engines.base import Answer, Message, Request, Sampling, Usage
from synth.engines.models import ModelSpec, model_specs, open_engine
from synth.engines.tops import Tops
from synth.engines.vllm import VLLMEngine
from synth.errors import EngineError, RequestError, RowError
from tests.tiny import make_tokenizer, save_tiny

TOKENIZER = make_tokenizer()
TEXT = "search[red cotton shirt]"
GREEDY = Sampling()


class DeadError(Exception):
    pass


class FakeLLM:
    """Answers `TEXT` and an end token, cut by `max_tokens` or to death as vLLM would."""

    made: list[FakeLLM]
    dies = False
    ends = "stop"

    def __init__(self, arguments: SimpleNamespace) -> None:
        self.arguments = arguments
        self.model_config = SimpleNamespace(max_model_len=2048)
        self.asked: list[tuple[list[int], SimpleNamespace, str]] = []
        self.most = self.running = 0
        self.stopped = False
        FakeLLM.made.append(self)

    @classmethod
    def from_engine_args(cls, arguments):
        return cls(arguments)

    async def generate(self, prompt, params, request_id):
        self.asked.append((prompt["prompt_token_ids"], params, request_id))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        if self.dies:
            raise DeadError("EngineCore encountered an issue")
        tokens = [*TOKENIZER.encode(TEXT), TOKENIZER.eos_token_id]
        cut = len(tokens) > params.max_tokens
        k = getattr(params, "logprobs", None)
        # The token that was drawn stands first, whatever its rank, and then the likeliest.
        places = [
            {token: SimpleNamespace(logprob=-5.0)}
            | {one: SimpleNamespace(logprob=-0.5 - one) for one in range(k or 0)}
            for token in tokens[: params.max_tokens]
        ]
        yield SimpleNamespace(
            outputs=[
                SimpleNamespace(
                    token_ids=tokens[: params.max_tokens],
                    logprobs=places if k else None,
                    finish_reason="length" if cut else self.ends,
                )
            ]
        )

    def shutdown(self):
        self.stopped = True


@pytest.fixture
def fake(monkeypatch):
    def module(name: str, **content: object) -> None:
        made = ModuleType(name)
        made.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, made)

    module("vllm", AsyncEngineArgs=SimpleNamespace, SamplingParams=SimpleNamespace)
    module("vllm.sampling_params", RequestOutputKind=SimpleNamespace(FINAL_ONLY="final"))
    module("vllm.v1.engine.exceptions", EngineDeadError=DeadError)
    module("vllm.v1.engine.async_llm", AsyncLLM=FakeLLM)
    FakeLLM.made = []
    monkeypatch.setattr(FakeLLM, "dies", False)
    return FakeLLM


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("tiny")))


def ask(engine: VLLMEngine, *requests: Request) -> list[Answer]:
    async def run():
        try:
            return list(await asyncio.gather(*map(engine.generate, requests)))
        finally:
            await engine.close()

    return asyncio.run(run())


def request(text: str = "a shirt", sampling: Sampling = GREEDY, seed: int = 0) -> Request:
    return Request((Message("system", "You shop."), Message("user", text)), sampling, seed)


def test_requests_are_under_way_together_on_one_model_with_prefix_caching(fake, tiny):
    engine = VLLMEngine(tiny, "bfloat16", batch_size=5)
    got = ask(engine, *(request(text) for text in "abcd"))
    [llm] = fake.made
    assert llm.arguments == SimpleNamespace(
        model=tiny, dtype="bfloat16", enable_prefix_caching=True, max_num_seqs=5, max_logprobs=-1
    )
    assert llm.most == 4
    assert llm.stopped
    assert len({number for *_, number in llm.asked}) == 4
    assert {answer.text for answer in got} == {TEXT}


def test_the_request_is_the_templates_and_the_end_token_is_no_part_of_the_answer(fake, tiny):
    [answer] = ask(VLLMEngine(tiny), request())
    ids, params, _ = fake.made[0].asked[0]
    assert TOKENIZER.decode(ids) == (
        "<|im_start|>system\nYou shop.<|im_end|>\n<|im_start|>user\na shirt<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    tokens = len(TOKENIZER.encode(TEXT))
    sampled = (*TOKENIZER.encode(TEXT), TOKENIZER.eos_token_id)
    assert answer == Answer(
        TEXT,
        "stop",
        token_ids=sampled,
        tokenizer=tokenizers.mark(TOKENIZER),
        usage=Usage(len(ids), tokens),
    )
    assert (params.temperature, params.top_p, params.seed) == (0.0, 1.0, None)
    assert params.stop_token_ids == [TOKENIZER.eos_token_id]


def test_sampling_and_limits_are_handed_on(fake, tiny):
    [answer] = ask(VLLMEngine(tiny), request(sampling=Sampling(0.7, 0.9, 3), seed=8))
    params = fake.made[0].asked[0][1]
    assert (params.temperature, params.top_p, params.seed, params.max_tokens) == (0.7, 0.9, 8, 3)
    assert (answer.finish, answer.usage.completion_tokens) == ("length", 3)
    with pytest.raises(RowError, match="2048"):
        ask(VLLMEngine(tiny), request("word " * 3000))


def test_the_likeliest_tokens_are_vllms_own_without_the_drawn_one(fake, tiny):
    wanting = replace(request(sampling=Sampling(max_tokens=4)), logprobs=3)
    answer, without = ask(VLLMEngine(tiny), wanting, request())
    asked = [params for _, params, _ in fake.made[0].asked]
    assert [getattr(params, "logprobs", None) for params in asked] == [3, None]
    assert answer.tops == Tops.of(3, [{0: -0.5, 1: -1.5, 2: -2.5}] * 4)
    assert without.tops is None
    with pytest.raises(EngineError, match="logprobs_mode 'processed_logprobs'"):
        ask(VLLMEngine(tiny, engine_args={"logprobs_mode": "processed_logprobs"}), wanting)
    with pytest.raises(EngineError, match="--logprobs 5000: the vocabulary"):
        ask(VLLMEngine(tiny), replace(wanting, logprobs=5000))


def test_a_limit_of_the_users_own_is_told_before_the_model_is_loaded(fake, tiny):
    wanting = replace(request(sampling=Sampling(max_tokens=4)), logprobs=3)
    with pytest.raises(EngineError, match="--engine-args has max_logprobs 2") as caught:
        ask(VLLMEngine(tiny, engine_args={"max_logprobs": 2}), wanting)
    assert "--logprobs 2" in caught.value.cure
    assert not fake.made
    for most in (3, -1):
        [answer] = ask(VLLMEngine(tiny, engine_args={"max_logprobs": most}), wanting)
        assert answer.tops.known


def test_it_says_how_much_it_works_on_at_once_and_what_it_takes(fake, tiny):
    assert VLLMEngine(tiny).capacity == 256
    assert VLLMEngine(tiny, engine_args={"max_num_seqs": 64}).capacity == 64
    assert VLLMEngine(tiny, batch_size=5, engine_args={"max_num_seqs": 64}).capacity == 5
    assert asyncio.run(VLLMEngine(tiny).context()) == 2048


def test_arguments_of_the_users_own_are_the_engines(fake, tiny):
    own = {"max_model_len": 8192, "tensor_parallel_size": 2, "dtype": "float16"}
    ask(VLLMEngine(tiny, "bfloat16", engine_args=own), request())
    arguments = fake.made[0].arguments
    assert (arguments.max_model_len, arguments.tensor_parallel_size) == (8192, 2)
    assert arguments.dtype == "bfloat16"


def test_an_answer_that_was_broken_off_is_none(fake, tiny, monkeypatch):
    monkeypatch.setattr(FakeLLM, "ends", "abort")
    with pytest.raises(RequestError, match="broke off an answer"):
        ask(VLLMEngine(tiny), request())


def test_a_dead_engine_stops_the_run(fake, tiny, monkeypatch):
    monkeypatch.setattr(FakeLLM, "dies", True)
    with pytest.raises(EngineError, match="EngineCore encountered") as caught:
        ask(VLLMEngine(tiny), request())
    assert "kept" in caught.value.cure


def test_without_vllm_the_cure_is_told(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError) as caught:
        VLLMEngine(tiny)
    assert "pip install vllm" in caught.value.cure


def test_the_command_lines_engine(fake, tiny):
    target, generator = model_specs(
        tiny, "vllm", (), "KEY", None, None, (), None, "float16", '{"enable_thinking": false}', 60
    )
    assert target == generator
    assert target.identity_settings()["dtype"] == "float16"
    engine = open_engine(target, 32, 7)
    assert isinstance(engine, VLLMEngine)
    assert (engine.batch_size, engine.chat_template_kwargs) == (7, {"enable_thinking": False})
    assert engine.identity["dtype"] == "float16"
    assert isinstance(open_engine(ModelSpec(tiny, "vllm"), 32, None), VLLMEngine)
