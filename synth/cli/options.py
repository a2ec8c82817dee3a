"""The options that several commands of `python -m synth` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from genpi_plugin.data.inputs.turns import ANSWERS, ASK
from synth.durations import seconds_of
from synth.running.limits import ENOUGH, FAILURE_RATE

PROGRAM = "python -m synth"


class Seconds(click.ParamType):
    """A duration: `90` or `90s`, `30m`, `2h`."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds that an option says."""
        found = seconds_of(str(value))
        if found is None:
            self.fail(f"{value!r} is not a duration: for example 90, 30m or 2h.", param, ctx)
        return found


def examples(*lines: str) -> str:
    """A command's epilog: lines to be typed after the program's name."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {PROGRAM} {line}" for line in lines)


def options_of(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, listed in their order."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


MODEL_OPTIONS = options_of(
    click.option("--model", help="The target: the model that learns. A folder, a hub name, or "
                 "the name a server knows it by."),
    click.option("--engine", type=click.Choice(["transformers", "vllm", "openai"]),
                 help="In process, or any OpenAI-compatible server. "
                 "[default: openai with --base-url, else transformers]"),
    click.option("--base-url", multiple=True,
                 help="The server, for example http://localhost:8000/v1. May be given several "
                 "times: work goes to the least loaded."),
    click.option("--api-key-env", default="OPENAI_API_KEY", show_default=True,
                 help="The environment variable that holds the API key."),
    click.option("--generator-model", help="Who writes inputs and reasons and plays the "
                 "environment. [default: the target]"),
    click.option("--generator-engine", type=click.Choice(["transformers", "vllm", "openai"]),
                 help="[default: openai with --generator-base-url, else the target's]"),
    click.option("--generator-base-url", multiple=True, help="[default: the target's]"),
    click.option("--generator-api-key-env", help="[default: the target's]"),
    click.option("--header-env", multiple=True, metavar="NAME=VARIABLE",
                 help="A header of each request, and the environment variable that holds its value "
                 "(openai). May be given several times."),
    click.option("--generator-header-env", multiple=True, metavar="NAME=VARIABLE",
                 help="[default: the target's, at the target's server]"),
    click.option("--concurrency", default=32, show_default=True, type=click.IntRange(1),
                 help="Requests under way at once (openai)."),
    click.option("--timeout", default=600.0, show_default=True, metavar="SECONDS",
                 type=click.FloatRange(0, min_open=True),
                 help="How long one answer may take (openai)."),
    click.option("--generator-timeout", metavar="SECONDS", type=click.FloatRange(0, min_open=True),
                 help="[default: the target's]"),
    click.option("--input-timeout", type=Seconds(), metavar="DURATION",
                 help="How long one try for an input may take (openai): until it ends, none after "
                 "it is used. [default: 60 s and 0.5 s for each of `inputs.max_tokens`, --timeout "
                 "at most]"),
    click.option("--patience", type=Seconds(), default="30m", show_default=True,
                 metavar="DURATION",
                 help="How long a server that was there is waited for when it is down, not ready, "
                 "or refuses requests as too many (openai, --ray). 90, 30m or 2h."),
    click.option("--requests-per-minute", type=click.FloatRange(0, min_open=True),
                 help="So many are sent to each server at most (openai)."),
    click.option("--tokens-per-minute", type=click.FloatRange(0, min_open=True),
                 help="So many, read and written, each server is asked for at most (openai)."),
    click.option("--batch-size", type=click.IntRange(1),
                 help="Requests answered together (transformers, vllm). "
                 "[default: 32 on a CPU; on a GPU transformers' or vLLM's own]"),
    click.option("--dtype", default="auto", show_default=True,
                 help="bfloat16, float16 or float32 (transformers, vllm)."),
    click.option("--generator-dtype", help="[default: the target's]"),
    click.option("--chat-template-kwargs", metavar="JSON", default="{}",
                 help="Passed to the chat template, for example '{\"enable_thinking\": false}'; "
                 "servers of vLLM, SGLang and llama.cpp take it, too."),
    click.option("--generator-chat-template-kwargs", metavar="JSON",
                 help="[default: the target's for the same model, none for another]"),
    click.option("--request-args", metavar="JSON", default="{}",
                 help="More fields of each request, or others (openai), for example "
                 "'{\"reasoning_effort\": \"low\", \"temperature\": null}'; null leaves one out."),
    click.option("--generator-request-args", metavar="JSON",
                 help="[default: the target's for the same model, none for another]"),
    click.option("--tokenizer", metavar="FOLDER",
                 help="The target's tokenizer (openai), a folder or a hub name: an answer's tokens "
                 "are then kept as the server sampled them, and its requests compared with those "
                 "that will be trained. [default: --model, where that is one here]"),
    click.option("--engine-args", metavar="JSON", default="{}",
                 help="Arguments of vLLM's engine (vllm), for example "
                 "'{\"max_model_len\": 8192, \"tensor_parallel_size\": 2}'; for transformers "
                 "'{\"continuous_batching\": false}' (or true, or its settings)."),
    click.option("--generator-engine-args", metavar="JSON",
                 help="[default: the target's for the same model, none for another]"),
)  # fmt: skip
TASK_OPTIONS = options_of(
    click.option("--inputs", "inputs_file", metavar="FILE", type=click.Path(path_type=Path),
                 help="Your own inputs, as the application sends them, in place of generated ones: "
                 "one a line, .jsonl, .json, .csv, .tsv, .parquet, a dataset's folder or name on "
                 "the hub; texts, or logs of conversations (docs/inputs.md)."),
    click.option("--input-column", default="", metavar="NAME",
                 help="The column, or key, that holds the inputs."),
    click.option("--input-split", default="", metavar="NAME",
                 help="The split of a dataset that holds the inputs."),
    click.option("--answers", type=click.Choice(ANSWERS), default=ASK, show_default=True,
                 help="Of logs: the target answers at each turn of the assistant (ask), at the "
                 "last (last), or the log's own answers are kept (keep): those are not the "
                 "target's, and teach it another model's ways."),
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0),
                 help="Of everything that is drawn."),
    click.option("--max-turns", type=int, help="Assistant turns in a conversation at most."),
    click.option("--set", "sets", multiple=True, metavar="KEY=VALUE",
                 help="Replace a value of task.yml, for example outputs.max_tokens=2048. "
                 "May be given several times."),
)  # fmt: skip
LOGPROBS_OPTION = click.option(
    "--logprobs", type=click.IntRange(0), metavar="K",
    help="Keep, at each token that the target answers with the prompt, its K likeliest tokens and "
    "their log-probabilities, from which training learns without a teacher beside it: 6 * K bytes "
    "a token. A server has to tell them (vLLM: 20, more with --max-logprobs). "
    "[default: outputs.logprobs of the task, 0]",
)  # fmt: skip
FAILURE_OPTION = click.option(
    "--max-failure-rate", default=FAILURE_RATE, show_default=True, type=click.FloatRange(0, 1),
    help=f"Stop when a larger share of a stage's rows fails, looked at after {ENOUGH} rows.",
)  # fmt: skip
LIMIT_OPTIONS = options_of(
    click.option("--max-cost", metavar="MONEY", type=click.FloatRange(0, min_open=True),
                 help="Ask no more once the folder has cost so much, earlier runs included, at the "
                 "prices given (--price-in, --price-out). What is under way then still ends and "
                 "is stored. Exit code 4."),
    click.option("--max-tokens-total", metavar="N", type=click.IntRange(1),
                 help="The same for tokens, those read and those written, of both models."),
)  # fmt: skip
RAY_OPTIONS = options_of(
    click.option("--ray", is_flag=False, flag_value="auto", metavar="[ADDRESS]",
                 help="Spread the requests over a Ray cluster. Without an address: RAY_ADDRESS, "
                 "the cluster on this machine, or a new one."),
    click.option("--ray-workers", type=click.IntRange(1),
                 help="How many workers, each with an engine. [default: one for each GPU, or for "
                 "each node without]"),
)  # fmt: skip
PRICE_OPTIONS = options_of(
    click.option("--price-in", type=click.FloatRange(0), metavar="PRICE",
                 help="Of a million tokens that the target reads: the run shows what it costs."),
    click.option("--price-out", type=click.FloatRange(0), metavar="PRICE",
                 help="Of a million tokens that it writes."),
    click.option("--generator-price-in", type=click.FloatRange(0), metavar="PRICE",
                 help="[default: the target's]"),
    click.option("--generator-price-out", type=click.FloatRange(0), metavar="PRICE",
                 help="[default: the target's]"),
)  # fmt: skip
