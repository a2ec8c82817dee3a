"""Evaluation rows for all processes, with none counted twice."""

from __future__ import annotations

from datasets import Dataset, concatenate_datasets

from genpi_plugin.data.chat import IGNORE_INDEX


def pad_to_multiple(dataset: Dataset, multiple: int) -> Dataset:
    """The dataset with blank pairs appended, up to a multiple of rows.

    Where not all processes have a last batch, accelerate repeats rows, which would then count
    twice in the loss. A blank pair is the shortest one without any label.
    """
    missing = -len(dataset) % multiple
    if not missing or not len(dataset):
        return dataset
    shortest = min(range(len(dataset)), key=lambda i: len(dataset[i]["input_ids"]))
    row = dataset[shortest]
    blank = {**row, "labels": [IGNORE_INDEX] * len(row["labels"])}
    blanks = Dataset.from_list([blank] * missing, features=dataset.features)
    return concatenate_datasets([dataset, blanks])
