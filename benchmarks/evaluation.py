"""How much faster an evaluation is than a plain loop, and that both find the same.

    python -m benchmarks.evaluation prompt.txt inputs.jsonl --model models/smollm2 --inputs 200

Both let floor, teacher and student answer every input, and read the teacher's answers with each of
them: KL(teacher||floor) and KL(teacher||student). The plain loop takes one input at a time and
reads the whole prompt each time; the evaluation reads the prompt once and answers in batches. All
in float32, greedy, one run, first one and then the other. The plain loop's time grows with the
inputs and nothing else, so `--plain-inputs` of them, evenly spread, stand for all.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.inputs.lines import read_inputs
from genpi_plugin.evaluation.figures.names import FLOOR, STUDENT, TEACHER
from genpi_plugin.evaluation.measuring.measure import measure
from genpi_plugin.evaluation.subjects.prompts import read_prompt
from genpi_plugin.evaluation.subjects.subject import Subject


@dataclass(frozen=True)
class Seen:
    """What either way finds: answers by system, and each answer's summed divergence in nats."""

    answers: dict[str, list[list[int]]]
    kl: dict[str, list[float]]
    own: dict[str, list[float]]
    seconds: float


def main() -> None:
    """Measure both, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt", type=Path, help="a prompt file")
    parser.add_argument("inputs_file", type=Path, help="inputs, .jsonl or one a line")
    parser.add_argument("--model", required=True, help="a folder or a hub name")
    parser.add_argument("--adapter", help="an adapter's folder (default: random small weights)")
    parser.add_argument("--inputs", type=int, default=200, help="so many (default 200)")
    parser.add_argument("--plain-inputs", type=int, help="of the plain loop (default all)")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="(default 48)")
    parser.add_argument("--batch-size", type=int, default=16, help="of the evaluation (default 16)")
    options = parser.parse_args()
    model = load(options.model, options.adapter)
    view = ChatView(AutoTokenizer.from_pretrained(options.model))
    inputs = list(read_inputs(options.inputs_file).texts)[: options.inputs]
    prompt = read_prompt(options.prompt)
    systems = [
        Subject(TEACHER, model, view, prompt, batch_size=options.batch_size),
        Subject(FLOOR, model, view, batch_size=options.batch_size),
        Subject(STUDENT, model, view, adapter=True, batch_size=options.batch_size),
    ]
    with_prompt, without = (len(system.requests(inputs[:1])[0]) for system in systems[:2])
    print(f"{len(inputs)} inputs; a request has {with_prompt} tokens with the prompt, {without} "
          f"without; answers up to {options.max_new_tokens} tokens; {torch.get_num_threads()} "
          "threads", flush=True)  # fmt: skip
    ours = evaluation(systems, inputs, options.max_new_tokens)
    print(f"evaluation: {ours.seconds:8.1f} s", flush=True)
    count = min(options.plain_inputs or len(inputs), len(inputs))
    chosen = [i * len(inputs) // count for i in range(count)]
    plain = plain_loop(systems, [inputs[i] for i in chosen], options.max_new_tokens)
    plain_seconds = plain.seconds * len(inputs) / count
    print(f"plain loop: {plain_seconds:8.1f} s ({count} inputs took {plain.seconds:.1f} s)")
    print(f"ratio:      {plain_seconds / ours.seconds:8.1f}")
    for name, given in plain.answers.items():
        same = sum(ours.answers[name][i] == one for i, one in zip(chosen, given, strict=True))
        print(f"{name}: {same} of {count} answers are the same")
    for name, sums in plain.kl.items():
        furthest = max(abs(ours.kl[name][i] - one) for i, one in zip(chosen, sums, strict=True))
        mean = sum(sums) / count
        print(f"KL(teacher||{name}) of an answer: {mean:.4f} nats, at most {furthest:.1e} apart")
    for name, sums in plain.own.items():
        furthest = max(abs(ours.own[name][i] - one) for i, one in zip(chosen, sums, strict=True))
        mean = sum(sums) / count
        print(
            f"KL(teacher||{name}) of its own answer: {mean:.4f} nats, at most {furthest:.1e} apart"
        )


def evaluation(systems: list[Subject], inputs: list[str], max_new_tokens: int) -> Seen:
    """What `axolotl genpi-eval` measures first."""
    started = time.perf_counter()
    teacher, *others = systems
    found = measure(inputs, teacher, others, {}, max_new_tokens,
                    lambda label, total: contextlib.nullcontext(lambda count: None))  # fmt: skip
    answers = {name: [one.ids for one in given] for name, given in found.answers.items()}
    kl = {system.name: found.kl[system.name] for system in others}
    own = {system.name: found.own_path[system.name].kl for system in others}
    return Seen(answers, kl, own, time.perf_counter() - started)


@torch.inference_mode()
def plain_loop(systems: list[Subject], inputs: list[str], max_new_tokens: int) -> Seen:
    """One input, one system, one pass at a time."""
    started = time.perf_counter()
    teacher, *others = systems
    answers: dict[str, list[list[int]]] = {system.name: [] for system in systems}
    kl: dict[str, list[float]] = {system.name: [] for system in others}
    own: dict[str, list[float]] = {system.name: [] for system in others}
    for text in inputs:
        requests = {system.name: system.requests([text])[0] for system in systems}
        for system in systems:
            with system.switched():
                made = generate(system, requests[system.name], max_new_tokens)
            answers[system.name].append(made)
        given = answers[teacher.name][-1]
        truth = logprobs(teacher, requests[teacher.name], given)
        for system in others:
            mine = logprobs(system, requests[system.name], given)
            kl[system.name].append(float((truth.exp() * (truth - mine)).sum()))
        for system in others:
            # As the evaluation: teacher, system and floor along the system's own answer.
            given = answers[system.name][-1]
            theirs, mine, _ = (
                logprobs(one, requests[one.name], given) for one in (teacher, system, others[0])
            )
            own[system.name].append(float((theirs.exp() * (theirs - mine)).sum()))
    return Seen(answers, kl, own, time.perf_counter() - started)


def generate(system: Subject, request: list[int], max_new_tokens: int) -> list[int]:
    """A greedy answer by transformers alone, its end token included."""
    ids = torch.tensor([request], device=system.model.device)
    output = system.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens,
        do_sample=False, eos_token_id=system.end_ids, pad_token_id=system.end_ids[0],
    )  # fmt: skip
    return output[0, len(request) :].tolist()


def logprobs(system: Subject, request: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probabilities [answer tokens, vocabulary] before each token of an answer."""
    ids = torch.tensor([request + answer], device=system.model.device)
    with system.switched():
        logits = system.model(input_ids=ids, use_cache=False, logits_to_keep=len(answer) + 1).logits
    return logits[0, :-1].float().log_softmax(-1)


def load(name: str, adapter: str | None) -> Any:
    """The model in float32 with an adapter."""
    base = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    if adapter:
        return PeftModel.from_pretrained(base, adapter).eval()
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    for parameter_name, parameter in model.named_parameters():
        if ".lora_B." in parameter_name:
            torch.nn.init.normal_(parameter, std=0.01)
    return model.eval()


if __name__ == "__main__":
    main()
