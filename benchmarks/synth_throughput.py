"""How fast `synth` is, against other orders of work on the same model and the same requests.

    python -m benchmarks.synth_throughput --model models/smollm2 \\
        --prompt my_prompt.txt --inputs my_inputs.jsonl

In this process, two comparisons in float32, whose answers are compared, too:

* the shared prefix: the teacher's first answers to a batch of rows, against plain `generate` with
  the prompt in front of every row, padded on the left. Both begin with nothing read.
* whole runs: `synthesize` on all rows, against the official order of work (one conversation at a
  time, one request at a time, on the same engine, which reads the prompt once here, too) on every
  so many of these rows, and against all of the requests at once: what the engine can do at most.

With `--continuous-batching`, instead of these: the first answers by our scheduler and by
transformers' continuous batching, in float32 and bfloat16, greedy and drawn.

With `--base-url`, on a server instead: tokens/s of whole runs against those of a plain load of
the very same requests, all there at once and as many in flight. A first run, which is not
counted, makes the requests and warms the server's caches for both.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genpi_plugin.data.inputs.given import GivenInputs
from genpi_plugin.data.inputs.lines import read_inputs
from synth.engines.base import Answer, Engine, Message, Request, Sampling, Scorer
from synth.engines.local.engine import TransformersEngine
from synth.engines.server.engine import OpenAIEngine
from synth.errors import SynthError
from synth.progress.progress import Tally
from synth.running.models import Models
from synth.running.pipeline import synthesize
from synth.store.store import Store
from synth.task.taskfile import Task, load_task
from synth.task.templates import load_prompt, teacher_messages

# A cache that holds the rows of a batch, and no more: a CPU has no memory to fill.
CONTINUOUS = {"num_blocks": 1024, "block_size": 64, "max_batch_tokens": 2048}
# A small model's pages come to no end otherwise.
REMINDER = "Write one short line: Observation, then Available Actions with two clickables."


@dataclass
class Watched:
    """An engine that notes what it was asked and what it answered; `width` requests at a time."""

    engine: Engine
    width: int = 10**6
    answers: dict[Request, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.width)

    @property
    def identity(self) -> dict[str, str]:
        return self.engine.identity

    async def generate(self, request: Request) -> Answer:
        async with self._slots:
            answer = await self.engine.generate(request)
        self.answers[request] = answer
        return answer

    @property
    def waiting(self) -> str | None:
        return self.engine.waiting

    @property
    def capacity(self) -> int:
        return self.engine.capacity

    async def context(self) -> int | None:
        return await self.engine.context()

    async def scorer(self) -> Scorer | None:
        return await self.engine.scorer()

    async def close(self) -> None:
        await self.engine.close()

    @property
    def tokens(self) -> int:
        """Generated tokens so far."""
        return _written(self.answers)


def _written(answers: dict[Request, Answer]) -> int:
    """Generated tokens."""
    return sum(answer.usage.completion_tokens or 0 for answer in answers.values())


def main() -> None:
    """Measure and print."""
    options = _options()
    task = _task(options)
    inputs = read_inputs(options.inputs, options.rows).texts
    if options.base_url:
        asyncio.run(against_plain_load(options, task, inputs))
        return
    if options.continuous_batching:
        against_continuous_batching(options, task, inputs[: options.batch_size])
        return
    against_plain_generate(options, task, inputs[: options.batch_size])
    asyncio.run(against_official_order(options, task, inputs))


def against_plain_generate(options: argparse.Namespace, task: Task, inputs: Any) -> None:
    """The shared prefix, measured in interleaved rounds."""
    requests = [_teacher_request(task, text, options.answer_tokens) for text in inputs]
    seconds: dict[str, list[float]] = {"shared prefix": [], "plain generate": []}
    for _ in range(options.rounds):
        ours, taken = asyncio.run(_answer_all(options, requests))
        seconds["shared prefix"].append(taken)
        plain, taken = _plain_generate(options, requests)
        seconds["plain generate"].append(taken)
    same = sum(ours[request].text == text for request, text in zip(requests, plain, strict=True))
    tokens = _written(ours)
    length = statistics.mean(answer.usage.prompt_tokens or 0 for answer in ours.values())
    print(f"{len(requests)} first answers of the teacher, {length:.0f} tokens read and "
          f"{tokens / len(requests):.0f} written each, {options.batch_size} rows a batch, float32, "
          f"median of {options.rounds}")  # fmt: skip
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, median in medians.items():
        print(f"  {name:15} {median:7.1f} s  {tokens / median:6.1f} tokens/s")
    ratio = medians["plain generate"] / medians["shared prefix"]
    print(f"  {ratio:.1f} times as fast; the same text for {same} of {len(requests)}\n", flush=True)


def against_continuous_batching(options: argparse.Namespace, task: Task, inputs: Any) -> None:
    """Our scheduler and transformers' own, measured in interleaved rounds."""
    print(f"{len(inputs)} first answers of the teacher, {options.answer_tokens} tokens at most, "
          f"median of {options.rounds}")  # fmt: skip
    print("| dtype | decoding | ours, tokens/s | continuous batching | ours is | same answer |")
    print("|---|---|---|---|---|---|")
    for dtype, temperature in itertools.product(("float32", "bfloat16"), (0.0, 1.0)):
        how = Sampling(temperature, max_tokens=options.answer_tokens)
        requests = [
            dataclasses.replace(_teacher_request(task, text, 1), sampling=how, seed=number)
            for number, text in enumerate(inputs)
        ]
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        answers = {}
        for _ in range(options.rounds):
            for name, continuous in (("ours", False), ("theirs", CONTINUOUS)):
                answers[name], taken = asyncio.run(
                    _answer_all(options, requests, dtype, continuous)
                )
                tokens = _written(answers[name])
                rates[name].append(tokens / taken)
        ours, theirs = (statistics.median(rates[name]) for name in ("ours", "theirs"))
        same = sum(answers["ours"][one].text == answers["theirs"][one].text for one in requests)
        drawn = "drawn" if temperature else "greedy"
        print(f"| {dtype} | {drawn} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.1f} times as "
              f"fast | {same} of {len(requests)} |", flush=True)  # fmt: skip


async def against_official_order(options: argparse.Namespace, task: Task, inputs: Any) -> None:
    """Whole runs, side by side and one request after the other."""
    ours = Watched(await _loaded(options))
    started = time.perf_counter()
    turns = await _run(task, ours, inputs)
    taken = time.perf_counter() - started
    await ours.close()
    theirs = Watched(await _loaded(options), width=1)
    started = time.perf_counter()
    for text in inputs[:: options.every]:
        await _run(task, theirs, [text])
    official = time.perf_counter() - started
    await theirs.close()
    load, at_once = await _answer_all(options, list(ours.answers))
    same = sum(ours.answers.get(request) == answer for request, answer in theirs.answers.items())
    print(f"Whole runs, {statistics.mean(turns):.1f} turns of the agent a conversation, float32")
    for name, watched, spent in (("ours", ours, taken), ("official order", theirs, official)):
        count = len(watched.answers)
        rows = len(inputs) if watched is ours else len(inputs[:: options.every])
        print(f"  {name:15} {spent:7.1f} s for {rows:3} rows, {count:4} requests, "
              f"{watched.tokens:6} tokens: {spent / count:5.2f} s a request, "
              f"{watched.tokens / spent:6.1f} tokens/s")  # fmt: skip
    by_tokens = (ours.tokens / taken) / (theirs.tokens / official)
    by_requests = (len(ours.answers) / taken) / (len(theirs.answers) / official)
    print(f"  {by_tokens:.1f} times the tokens/s, {by_requests:.1f} times the requests/s; the same "
          f"answer for {same} of {len(theirs.answers)} requests of both")  # fmt: skip
    rate = _written(load) / at_once
    print(f"  all {len(load)} requests at once: {at_once:.1f} s, {rate:.1f} tokens/s; ours "
          f"{ours.tokens / taken / rate:.0%} of that", flush=True)  # fmt: skip


async def against_plain_load(options: argparse.Namespace, task: Task, inputs: Any) -> None:
    """On a server: whole runs against nothing but their requests."""
    width = options.concurrency
    rates: dict[str, list[float]] = {"ours": [], "plain load": []}
    first = Watched(OpenAIEngine(options.model, options.base_url, concurrency=width))
    await _run(task, first, inputs)
    await first.close()
    for _ in range(options.rounds):
        rates["plain load"].append(await _plain_load(options, list(first.answers)))
        ours = Watched(OpenAIEngine(options.model, options.base_url, concurrency=width))
        started = time.perf_counter()
        await _run(task, ours, inputs)
        rates["ours"].append(ours.tokens / (time.perf_counter() - started))
        await ours.close()
    print(f"{options.base_url}: {len(inputs)} rows, {len(first.answers)} requests, "
          f"{first.tokens} tokens, {width} requests in flight, "
          f"median of {options.rounds}")  # fmt: skip
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, median in medians.items():
        print(f"  {name:15} {median:6.1f} tokens/s")
    print(f"  {medians['ours'] / medians['plain load']:.0%} of the plain load")


async def _plain_load(options: argparse.Namespace, requests: list[Request]) -> float:
    """Generated tokens/s of the bare client."""
    import openai
    from openai.types.chat import ChatCompletion

    slots = asyncio.Semaphore(options.concurrency)
    client = openai.AsyncOpenAI(base_url=options.base_url, api_key="none", timeout=3600)

    async def ask(request: Request) -> int:
        how = request.sampling
        drawn = {"top_p": how.top_p, "seed": request.seed} if how.temperature else {}
        messages = [dataclasses.asdict(message) for message in request.messages]
        body = {"model": options.model, "messages": messages, "max_tokens": how.max_tokens,
                "temperature": how.temperature, **drawn}  # fmt: skip
        async with slots:
            # As the engine asks: the client's typed method takes longer than all the rest of it.
            reply = await client.post("/chat/completions", cast_to=ChatCompletion, body=body)
        return reply.usage.completion_tokens if reply.usage else 0

    async with client:
        started = time.perf_counter()
        tokens = await asyncio.gather(*map(ask, requests))
        return sum(tokens) / (time.perf_counter() - started)


async def _run(task: Task, engine: Watched, inputs: Any) -> list[int]:
    """The pipeline of `synth run`, with a store that is kept nowhere.

    Returns:
        How many turns the agent has in each conversation.
    """
    store = Store(":memory:")
    try:
        await synthesize(
            task,
            Models(engine, engine),
            store,
            Tally(len(inputs)),
            given=GivenInputs.of_texts(inputs),
        )
    except SynthError as error:
        if len(inputs) > 1:  # a lone row may be rejected; its requests were answered all the same
            raise error
    turns = [len(row.conversation) // 2 + 1 for row in store.rows()]
    store.close()
    return turns


def _plain_generate(
    options: argparse.Namespace, requests: list[Request]
) -> tuple[list[str], float]:
    """What transformers does by itself: left-padded batches, the prompt in every row."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    texts = []
    started = time.perf_counter()
    for at in range(0, len(requests), options.batch_size):
        conversations = [
            [dataclasses.asdict(message) for message in request.messages]
            for request in requests[at : at + options.batch_size]
        ]
        batch = tokenizer.apply_chat_template(
            conversations, add_generation_prompt=True, padding=True, return_tensors="pt",
            return_dict=True,
        )  # fmt: skip
        out = model.generate(**batch, max_new_tokens=options.answer_tokens, do_sample=False)
        new = out[:, batch["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts, time.perf_counter() - started


async def _answer_all(
    options: argparse.Namespace,
    requests: list[Request],
    dtype: str = "float32",
    continuous: Any = False,
) -> tuple[dict[Request, Answer], float]:
    engine = Watched(await _loaded(options, dtype, continuous))
    started = time.perf_counter()
    await asyncio.gather(*map(engine.generate, requests))
    taken = time.perf_counter() - started
    await engine.close()
    return engine.answers, taken


async def _loaded(
    options: argparse.Namespace, dtype: str = "float32", continuous: Any = False
) -> TransformersEngine:
    """An engine that has loaded its model, and has read nothing that the requests begin with."""
    engine = TransformersEngine(
        options.model, dtype, options.batch_size, continuous_batching=continuous
    )
    await engine.generate(Request((Message("user", "Hello."),), Sampling(max_tokens=1)))
    return engine


def _teacher_request(task: Task, text: str, tokens: int) -> Request:
    return Request(
        teacher_messages(task.prompt, (Message("user", text),)), Sampling(max_tokens=tokens)
    )


def _task(options: argparse.Namespace) -> Task:
    """The web shop task with the prompt of the command line, and answers that end soon."""
    limits = {
        f"{stage}.max_tokens": options.answer_tokens
        for stage in ("outputs", "reasons", "conversations")
    }
    turns = {"conversations.max_turns": options.turns, "conversations.reminder": REMINDER}
    # All four stages of all rows.
    task = load_task("webshop", {**limits, **turns, "reasons.share": 1})
    return dataclasses.replace(task, prompt=load_prompt(options.prompt, "system"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="a folder, or the server's name for it")
    parser.add_argument("--prompt", type=Path, required=True, help="the prompt's file")
    parser.add_argument("--inputs", type=Path, required=True, help="inputs, .jsonl or text")
    parser.add_argument("--base-url", help="measure a server, for example http://localhost:8000/v1")
    parser.add_argument(
        "--continuous-batching",
        action="store_true",
        help="beside transformers' continuous batching",
    )
    parser.add_argument("--rows", type=int, default=64, help="inputs (default %(default)s)")
    parser.add_argument(
        "--every", type=int, default=4, help="of which each so manieth in the official order"
    )
    parser.add_argument("--turns", type=int, default=4, help="assistant turns at most")
    parser.add_argument("--answer-tokens", type=int, default=128, help="of any answer at most")
    parser.add_argument("--batch-size", type=int, default=32, help="rows decoded at once")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at a server at once")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved (default %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
