"""Are the tokens that a server tells those of the engine in this process?

    python -m benchmarks.served_tokens --model models/smollm2 --base-url http://localhost:8000/v1

Greedy answers to the same requests, with a system prompt and a history, from the `transformers`
engine in float32 and from a server that tells tokens (vLLM: `return_token_ids`). The server's own
count of each request's tokens, or the tokens themselves where it tells them, are held against ours
on the way. With `--logprobs K` the K likeliest tokens at each, too: in how many places they are the
same, and the largest difference of a log-probability. Ends with exit code 1 where the server tells
the tokens of no answer.
"""

from __future__ import annotations

import argparse
import asyncio

import numpy as np

from synth.engines.base import Answer, Engine, Message, Request, Sampling
from synth.engines.local.engine import TransformersEngine
from synth.engines.server.engine import OpenAIEngine
from synth.engines.tops import Tops

SYSTEM = Message("system", "You are a shop assistant. Answer in one short sentence.")
SHOTS = (Message("user", "wool socks"), Message("assistant", "We have grey ones."))
LIKELY = -7.0  # nats: a token that comes up once in a thousand times
ASKED = ("a red shirt", "Is the lamp dimmable?", "büro stuhl", "  two\n\nblank lines ", "どうも")


def requests(tokens: int, k: int) -> list[Request]:
    """With prompt, with history, and bare."""
    begins: tuple[tuple[Message, ...], ...] = ((SYSTEM,), (SYSTEM, *SHOTS), ())
    how = Sampling(max_tokens=tokens)
    return [
        Request((*begin, Message("user", text)), how, logprobs=k)
        for begin in begins
        for text in ASKED
    ]


async def answers(engine: Engine, asked: list[Request]) -> list[Answer]:
    """All of them, one engine."""
    try:
        return list(await asyncio.gather(*map(engine.generate, asked)))
    finally:
        await engine.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="the model's folder")
    parser.add_argument("--served", help="the name the server knows it by [default: --model]")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--answer-tokens", type=int, default=40)
    parser.add_argument("--logprobs", type=int, default=0, metavar="K")
    given = parser.parse_args()
    asked = requests(given.answer_tokens, given.logprobs)
    here = asyncio.run(answers(TransformersEngine(given.model, "float32"), asked))
    served = OpenAIEngine(given.served or given.model, given.base_url, tokenizer=given.model)
    there = asyncio.run(answers(served, asked))
    told = [answer for answer in there if answer.token_ids]
    same = sum(one.token_ids == other.token_ids for one, other in zip(here, there, strict=True)
               if other.token_ids)  # fmt: skip
    texts = sum(one.text == other.text for one, other in zip(here, there, strict=True))
    ended = sum(answer.finish == "stop" for answer in there)
    print(f"{len(asked)} requests, {ended} answers ended by themselves; same text: {texts} of "
          f"{len(asked)}.")  # fmt: skip
    if not told:
        raise SystemExit("The server told the tokens of no answer: there is nothing to compare.")
    print(f"The server told the tokens of {len(told)} answers; same tokens: {same} of "
          f"{len(told)}.")  # fmt: skip
    if given.logprobs:
        print(likeliest(here, there))


def likeliest(here: list[Answer], there: list[Answer]) -> str:
    """How far the likeliest tokens of the same answers agree, in a line."""
    places = same = 0
    apart: list[tuple[float, float]] = []  # ours, and how far theirs is from it
    for one, other in zip(here, there, strict=True):
        if one.token_ids != other.token_ids or not (one.tops and other.tops and other.tops.known):
            continue
        for ours, theirs in zip(_places(one.tops), _places(other.tops), strict=True):
            places += 1
            same += ours.keys() == theirs.keys()
            common = ours.keys() & theirs.keys()
            apart += [(ours[token], abs(ours[token] - theirs[token])) for token in common]
    if not apart:
        raise SystemExit("There are no likeliest tokens to compare.")
    largest = max(far for _, far in apart)
    of_likely = max(far for nats, far in apart if nats > LIKELY)
    return (
        f"Likeliest tokens at {places:,} places, the same at {same:,}. Largest difference of a "
        f"log-probability: {largest:.4f} nats; of those above {LIKELY:g}: {of_likely:.4f}."
    )


def _places(tops: Tops) -> list[dict[int, float]]:
    return [dict(zip(*place, strict=True)) for place in zip(*map(np.ndarray.tolist, tops.arrays()),
                                                            strict=True)]  # fmt: skip


if __name__ == "__main__":
    main()
