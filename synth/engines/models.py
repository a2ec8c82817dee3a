"""From what the command line says of a model to an engine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from synth.engines.base import Engine
from synth.engines.endpoints import PATIENCE
from synth.engines.server.urls import checked, without_login
from synth.errors import SynthError
from synth.secrets import check_variable, redactor

IN_PROCESS = ("transformers", "vllm")
CAPS = ("requests_per_minute", "tokens_per_minute")


@dataclass(frozen=True)
class ModelSpec:
    """A model and how to reach it. Whatever in it is a secret is known to the redactor."""

    model: str
    engine: str
    base_urls: tuple[str, ...] = ()
    api_key_env: str = "OPENAI_API_KEY"
    dtype: str = "auto"
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    timeout: float = 600.0
    request_args: dict[str, Any] = field(default_factory=dict)
    engine_args: dict[str, Any] = field(default_factory=dict)
    patience: float = PATIENCE
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    def __post_init__(self) -> None:
        check_variable("--api-key-env", self.api_key_env)
        redactor.register_variable(self.api_key_env)
        for url in self.base_urls:
            redactor.register_url(url)
        for arguments in (self.request_args, self.engine_args, self.chat_template_kwargs):
            redactor.register_arguments(arguments)

    def identity_settings(self) -> dict[str, Any]:
        """What determines the answers, for synth.yaml: no secrets."""
        known: dict[str, Any] = {"model": self.model, "engine": self.engine}
        if self.engine in IN_PROCESS:
            known["dtype"] = self.dtype
        if self.engine in IN_PROCESS or self.chat_template_kwargs:
            known["chat_template_kwargs"] = self.chat_template_kwargs
        if self.request_args:
            known["request_args"] = self.request_args
        cleared: dict[str, Any] = redactor.arguments(known)
        return cleared

    def connection_settings(self) -> dict[str, Any]:
        """How it is reached, for synth.yaml: no secrets, and nothing that changes answers."""
        if self.engine != "openai":
            arguments = redactor.arguments(self.engine_args)
            return {"engine_args": arguments} if arguments else {}
        return {
            "base_url": [without_login(url) for url in self.base_urls] or "the client's default",
            "api_key_env": self.api_key_env,
            "timeout": self.timeout,
            "patience": self.patience,
            **{name: cap for name in CAPS if (cap := getattr(self, name)) is not None},
        }


def open_engine(spec: ModelSpec, concurrency: int, batch_size: int | None) -> Engine:
    """The engine for `spec`; nothing heavy is imported for the one that is not asked for.

    Raises:
        EngineError: no such model, or no key.
    """
    if spec.engine == "openai":
        from synth.engines.server.engine import OpenAIEngine

        return OpenAIEngine(
            spec.model,
            spec.base_urls,
            spec.api_key_env,
            concurrency,
            spec.timeout,
            chat_template_kwargs=spec.chat_template_kwargs,
            request_args=spec.request_args,
            patience=spec.patience,
            requests_per_minute=spec.requests_per_minute,
            tokens_per_minute=spec.tokens_per_minute,
        )
    if spec.engine == "vllm":
        from synth.engines.vllm import VLLMEngine

        return VLLMEngine(
            spec.model, spec.dtype, batch_size, spec.chat_template_kwargs, spec.engine_args
        )
    from synth.engines.local.engine import TransformersEngine

    return TransformersEngine(spec.model, spec.dtype, batch_size, spec.chat_template_kwargs)


def model_specs(
    model: str | None,
    engine: str | None,
    base_url: tuple[str, ...],
    api_key_env: str,
    generator_model: str | None,
    generator_engine: str | None,
    generator_base_url: tuple[str, ...],
    generator_api_key_env: str | None,
    dtype: str,
    chat_template_kwargs: str,
    timeout: float,
    request_args: str = "{}",
    engine_args: str = "{}",
    patience: float = PATIENCE,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    **_: Any,
) -> tuple[ModelSpec, ModelSpec]:
    """Target and generator from the command line's options; see `synth run --help`.

    Raises:
        SynthError: no model, options that contradict each other, an address that is none,
            arguments that are no JSON, or a key in place of its variable's name.
    """
    if not model:
        raise SynthError(
            "There is no --model.",
            "Name the model that learns: a folder, a hub name, or a server's name for it.",
        )
    kwargs = _json_object("--chat-template-kwargs", chat_template_kwargs)
    more: dict[str, Any] = {
        "patience": patience,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "request_args": _json_object("--request-args", request_args),
        "engine_args": _json_object("--engine-args", engine_args),
    }
    check_variable("--api-key-env", api_key_env)
    if generator_api_key_env:
        check_variable("--generator-api-key-env", generator_api_key_env)
    for url in (*base_url, *generator_base_url):
        redactor.register_url(url)
        checked(url)
    engine = engine or ("openai" if base_url else "transformers")
    if engine in IN_PROCESS and base_url:
        raise SynthError(
            f"--base-url goes with --engine openai, not {engine}.", "Leave one of them out."
        )
    target = ModelSpec(model, engine, base_url, api_key_env, dtype, kwargs, timeout, **more)
    if not (generator_model or generator_engine or generator_base_url):
        _check_used(request_args, engine_args, target)
        return target, target
    theirs = generator_engine or ("openai" if generator_base_url else engine)
    if theirs in IN_PROCESS and generator_base_url:
        raise SynthError(
            f"--generator-base-url goes with --generator-engine openai, not {theirs}.",
            "Leave one of them out.",
        )
    generator = ModelSpec(
        generator_model or model,
        theirs,
        generator_base_url or (base_url if theirs == "openai" else ()),
        generator_api_key_env or api_key_env,
        dtype,
        kwargs,
        timeout,
        **more,
    )
    _check_used(request_args, engine_args, target, generator)
    return target, generator


def _check_used(request_args: str, engine_args: str, *specs: ModelSpec) -> None:
    for option, value, engine in (
        ("--request-args", request_args, "openai"),
        ("--engine-args", engine_args, "vllm"),
    ):
        if value != "{}" and engine not in {spec.engine for spec in specs}:
            raise SynthError(f"{option} goes with --engine {engine}.", "Leave it out.")


def _json_object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SynthError(
            f"{option} is not JSON: {error}.", "For example '{\"name\": false}'."
        ) from None
    if not isinstance(value, dict):
        raise SynthError(f"{option} is not a JSON object.", "For example '{\"name\": false}'.")
    return value
