"""From what the command line says of a model to an engine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from genpi_plugin.data import templates
from synth.engines.base import Engine
from synth.engines.endpoints import PATIENCE
from synth.engines.server.headers import parse_header_env
from synth.engines.server.urls import checked, without_login
from synth.errors import SynthError
from synth.secrets import check_variable, redactor

IN_PROCESS = ("transformers", "vllm")
CAPS = ("requests_per_minute", "tokens_per_minute")


@dataclass(frozen=True)
class ModelSpec:
    """A model and how to reach it. Whatever in it is a secret is known to the redactor.

    `tokenizer` is that of a model behind a server: a folder or a name on the hub; None is the
    model's own name where that is one here, and "" none.
    """

    model: str
    engine: str
    base_urls: tuple[str, ...] = ()
    api_key_env: str = "OPENAI_API_KEY"
    dtype: str = "auto"
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    timeout: float = 600.0
    request_args: dict[str, Any] = field(default_factory=dict)
    engine_args: dict[str, Any] = field(default_factory=dict)
    header_env: dict[str, str] = field(default_factory=dict)
    patience: float = PATIENCE
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        check_variable("--api-key-env", self.api_key_env)
        redactor.register_variable(self.api_key_env)
        for url in self.base_urls:
            redactor.register_url(url)
        for arguments in (self.request_args, self.engine_args, self.chat_template_kwargs):
            redactor.register_arguments(arguments)

    @property
    def known_tokenizer(self) -> str:
        """The folder or name of the model's tokenizer; "" where it is not known."""
        if self.engine in IN_PROCESS:
            return self.model
        if self.tokenizer is not None:
            return self.tokenizer
        return self.model if templates.of_tokenizer(self.model) else ""

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
            **({"header_env": self.header_env} if self.header_env else {}),
            **({"tokenizer": self.known_tokenizer} if self.known_tokenizer else {}),
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
            header_env=spec.header_env,
            tokenizer=spec.known_tokenizer,
        )
    if spec.engine == "vllm":
        from synth.engines.vllm import VLLMEngine

        return VLLMEngine(
            spec.model, spec.dtype, batch_size, spec.chat_template_kwargs, spec.engine_args
        )
    from synth.engines.local.engine import TransformersEngine

    return TransformersEngine(
        spec.model,
        spec.dtype,
        batch_size,
        spec.chat_template_kwargs,
        spec.engine_args.get("continuous_batching"),
    )


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
    header_env: tuple[str, ...] = (),
    generator_dtype: str | None = None,
    generator_chat_template_kwargs: str | None = None,
    generator_timeout: float | None = None,
    generator_request_args: str | None = None,
    generator_engine_args: str | None = None,
    generator_header_env: tuple[str, ...] = (),
    tokenizer: str | None = None,
    **_: Any,
) -> tuple[ModelSpec, ModelSpec]:
    """Target and generator from the command line's options; see `synth run --help`.

    Arguments are a model's own: those of the target are the generator's, too, where it is the same
    model, and no other model's. Headers are a server's, and so go to the target's servers alone.

    Raises:
        SynthError: no model, options that contradict each other, an address that is none,
            arguments that are no JSON, or a key in place of its variable's name.
    """
    if not model:
        raise SynthError(
            "There is no --model.",
            "Name the model that learns: a folder, a hub name, or a server's name for it.",
        )
    check_variable("--api-key-env", api_key_env)
    if generator_api_key_env:
        check_variable("--generator-api-key-env", generator_api_key_env)
    for url in (*base_url, *generator_base_url):
        redactor.register_url(url)
        checked(url)
    waits: dict[str, Any] = {
        "patience": patience,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }
    target = ModelSpec(
        model,
        engine or ("openai" if base_url else "transformers"),
        base_url,
        api_key_env,
        dtype,
        _json_object("--chat-template-kwargs", chat_template_kwargs),
        timeout,
        _json_object("--request-args", request_args),
        _json_object("--engine-args", engine_args),
        parse_header_env("--header-env", header_env),
        **waits,
        tokenizer=tokenizer,
    )
    _check_options(target, "--")
    same = generator_model in (None, model)
    theirs = generator_engine or ("openai" if generator_base_url else target.engine)
    served = theirs == "openai"
    at_target = served and not generator_base_url
    own_headers = parse_header_env("--generator-header-env", generator_header_env)
    generator = ModelSpec(
        generator_model or model,
        theirs,
        generator_base_url or (base_url if served else ()),
        generator_api_key_env or api_key_env,
        generator_dtype or dtype,
        _own("--generator-chat-template-kwargs", generator_chat_template_kwargs,
             target.chat_template_kwargs if same else {}),
        generator_timeout or timeout,
        _own("--generator-request-args", generator_request_args,
             target.request_args if same and served else {}),
        _own("--generator-engine-args", generator_engine_args,
             target.engine_args if same and theirs == target.engine else {}),
        own_headers or (target.header_env if at_target else {}),
        **waits,
        tokenizer=tokenizer if same and served else None,
    )  # fmt: skip
    _check_options(generator, "--generator-")
    return target, generator


def _check_options(spec: ModelSpec, begins: str) -> None:
    """Check that a model's options are its engine's.

    Raises:
        SynthError: names the option, which begins with `begins`, and the engine it is for.
    """
    if spec.engine in IN_PROCESS and spec.base_urls:
        raise SynthError(
            f"{begins}base-url goes with {begins}engine openai, not {spec.engine}.",
            "Leave one of them out.",
        )
    for name, given, engines in (
        ("request-args", spec.request_args, ("openai",)),
        ("header-env", spec.header_env, ("openai",)),
        ("engine-args", spec.engine_args, ("vllm", "transformers")),
        ("tokenizer", spec.tokenizer, ("openai",)),
    ):
        if given and spec.engine not in engines:
            other = "--" if begins != "--" else "--generator-"
            raise SynthError(
                f"{begins}{name} goes with {begins}engine {' or '.join(engines)}, not "
                f"{spec.engine}.",
                f"Leave it out. What is meant for the other role goes into {other}{name}.",
            )
    _check_engine_args(spec, begins)


def _check_engine_args(spec: ModelSpec, begins: str) -> None:
    if spec.engine != "transformers" or set(spec.engine_args) <= {"continuous_batching"}:
        return
    raise SynthError(
        f"{begins}engine-args: the transformers engine takes `continuous_batching` alone (true, "
        "false, or fields of transformers' ContinuousBatchingConfig).",
        f"Leave the others out, or add {begins}engine vllm.",
    )


def _own(option: str, text: str | None, default: dict[str, Any]) -> dict[str, Any]:
    return default if text is None else _json_object(option, text)


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
