"""Whether a server answers as the adapter did in the evaluation.

    axolotl genpi-eval recipes/genpi_demo.yml --max-new-tokens 128
    vllm serve models/smollm2 --enable-lora --lora-modules genpi=outputs/genpi_demo --port 8000
    python -m benchmarks.served_answers http://localhost:8000/v1 genpi \\
        outputs/genpi_demo/report/answers.jsonl

Sends each of the evaluation's inputs as a request, greedily, and counts the answers that are
the student's, letter for letter. A key is taken from OPENAI_API_KEY.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from openai import OpenAI


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", help="of the server, with /v1")
    parser.add_argument("model", help="the adapter's name there")
    parser.add_argument("answers", type=Path, help="answers.jsonl of a report")
    parser.add_argument("--system", default="student", help="whose answers (default student)")
    parser.add_argument("--max-tokens", type=int, default=128, help="as in the evaluation")
    options = parser.parse_args()
    client = OpenAI(base_url=options.url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    lines = [json.loads(line) for line in options.answers.read_text("utf-8").splitlines()]
    same = 0
    for line in lines:
        served = client.chat.completions.create(
            model=options.model,
            messages=[{"role": "user", "content": line["input"]}],
            temperature=0,
            max_tokens=options.max_tokens,
        )
        answer = (served.choices[0].message.content or "").strip()
        expected = line[options.system]["answer"]
        same += answer == expected
        if answer != expected:
            print(f"input:  {line['input']}\nserved: {answer}\nhere:   {expected}\n")
    print(f"{same} of {len(lines)} answers are the {options.system}'s, letter for letter")


if __name__ == "__main__":
    main()
