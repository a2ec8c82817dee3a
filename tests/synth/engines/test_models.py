"""Arguments belong to a role: what is the target's is not another generator's."""

import json

import pytest

from synth.engines.models import model_specs
from synth.errors import SynthError

OPTIONS = {
    "model": "m",
    "engine": None,
    "base_url": ("http://one:8000/v1",),
    "api_key_env": "KEY",
    "generator_model": None,
    "generator_engine": None,
    "generator_base_url": (),
    "generator_api_key_env": None,
    "dtype": "auto",
    "chat_template_kwargs": '{"enable_thinking": false}',
    "timeout": 600.0,
    "request_args": '{"top_k": 5}',
}
TWO = ("http://two:8000/v1",)


def specs(**more):
    return model_specs(**{**OPTIONS, **more})


def test_without_a_generator_there_is_one_model():
    target, generator = specs()
    assert target == generator
    assert (target.request_args, target.timeout) == ({"top_k": 5}, 600.0)


def test_another_model_gets_none_of_the_target_s_arguments():
    _, generator = specs(generator_model="gpt", generator_base_url=TWO)
    assert (generator.request_args, generator.chat_template_kwargs) == ({}, {})
    assert generator.identity_settings() == {"model": "gpt", "engine": "openai"}


def test_the_same_model_elsewhere_keeps_them():
    target, generator = specs(generator_base_url=TWO)
    assert generator.request_args == target.request_args
    assert generator.chat_template_kwargs == target.chat_template_kwargs


def test_the_generator_s_own():
    target, generator = specs(
        generator_model="gpt",
        generator_request_args='{"reasoning_effort": "low"}',
        generator_chat_template_kwargs='{"a": 1}',
        generator_timeout=30.0,
        generator_dtype="float16",
    )
    assert (target.request_args, target.timeout, target.dtype) == ({"top_k": 5}, 600.0, "auto")
    assert generator.request_args == {"reasoning_effort": "low"}
    assert generator.chat_template_kwargs == {"a": 1}
    assert (generator.timeout, generator.dtype) == (30.0, "float16")


def test_engine_arguments_are_a_role_s_own():
    vllm = {"base_url": (), "engine": "vllm", "request_args": "{}"}
    own = '{"max_model_len": 8192}'
    target, generator = specs(**vllm, engine_args=own, generator_model="owner/large")
    assert (target.engine_args, generator.engine_args) == ({"max_model_len": 8192}, {})
    _, generator = specs(**vllm, generator_engine_args=own, generator_model="owner/large")
    assert generator.engine_args == json.loads(own)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"base_url": ()}, "--request-args goes with --engine openai, not transformers"),
        ({"engine_args": '{"a": 1}'},
         "--engine-args goes with --engine vllm or transformers, not openai"),
        ({"generator_engine": "transformers", "generator_request_args": '{"a": 1}'},
         "--generator-request-args goes with --generator-engine openai, not transformers"),
        ({"generator_engine": "vllm", "generator_header_env": ("A=B",)},
         "--generator-header-env goes with --generator-engine openai, not vllm"),
        ({"generator_engine": "vllm", "generator_base_url": TWO}, "--generator-base-url goes with"),
        ({"generator_request_args": "{"}, "--generator-request-args is not JSON"),
        ({"base_url": (), "request_args": "{}", "engine_args": '{"a": 1}'},
         "--engine-args: the transformers engine takes `continuous_batching` alone"),
        ({"generator_engine_args": "[]"}, "--generator-engine-args is not a JSON object"),
    ],
)  # fmt: skip
def test_an_option_for_another_engine_is_refused(more, words):
    with pytest.raises(SynthError, match=words):
        specs(**more)
