"""What inputs of the user's own are known by, so that a run tells when they are others."""

from __future__ import annotations

import hashlib
import json

import datasets

from genpi_plugin.data.inputs.given import Reading
from synth.task.given import described
from tests.synth.scripted import make_task

PROMPT = "Serve {{ name }}."
LOG = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_all_that_rows_take_from_a_dataset_counts(tmp_path):
    task = make_task(tmp_path / "task", PROMPT, slots={"name": ["Ada"]})
    marks = []
    for number, (row, answers) in enumerate([
        ({"input": "a"}, "ask"),
        ({"input": "a", "id": "x"}, "ask"),
        ({"input": "a", "slots": json.dumps({"name": "Ada"})}, "ask"),
        ({"input": "a", "slots": json.dumps({"name": "Bob"})}, "ask"),
        ({"messages": LOG}, "keep"),
        ({"messages": [LOG[0], {**LOG[1], "content": "c"}]}, "keep"),
    ]):  # fmt: skip
        folder = tmp_path / str(number) / "data"
        datasets.Dataset.from_list([row]).save_to_disk(folder)
        marks.append(described(folder, Reading(answers=answers), task)["sha256"])
    assert len(set(marks)) == len(marks)
    # As before, where there is nothing but messages.
    alone = json.dumps([[{"role": "user", "content": "a"}]], sort_keys=True)
    assert marks[0] == hashlib.sha256(alone.encode()).hexdigest()
