"""A system as lm-evaluation-harness runs it, which counts what the harness cuts."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from genpi_plugin.evaluation.subjects.subject import Subject

# Beginnings of warnings that say nothing here: a model that is loaded is what it is given, and
# what it cuts is counted.
NOISE = (
    "`pretrained` model kwarg is not of type `str`",
    "Passed an already-initialized model through `pretrained`",
    "Left truncation applied.",
    "Combined length of context",
)
# Ends of thoughts that are one token of those models that think.
THINK_ENDS = ("</think>", "[/THINK]", "\u25c1/think\u25b7", "<|END_THINKING|>")


def make_model(subject: Subject, kwargs: Mapping[str, Any]) -> Any:
    """The harness's `HFLM` of a system; its `cut` counts, by task, the requests that lost their
    beginning because the model takes fewer tokens.

    Args:
        kwargs: of the chat template.
    """
    from lm_eval.models.huggingface import HFLM

    class Counting(HFLM):  # type: ignore[misc, unused-ignore]
        def __init__(self, *args: Any, **settings: Any) -> None:
            self.cut: Counter[str] = Counter()
            self._tasks: list[str] = []
            self._tasks_of: dict[str, list[str]] = defaultdict(list)
            super().__init__(*args, **settings)

        def loglikelihood(self, requests: Any, *args: Any, **options: Any) -> Any:
            self._tasks = [request.task_name for request in requests]
            try:
                return super().loglikelihood(requests, *args, **options)
            finally:
                self._tasks = []

        def _loglikelihood_tokens(self, requests: Any, *args: Any, **options: Any) -> Any:
            # Of rolling windows, which are never cut, there are no tasks.
            if self._tasks:
                for task, (_, context, answer) in zip(self._tasks, requests, strict=True):
                    self.cut[task] += len(context) + len(answer) > self.max_length + 1
            return super()._loglikelihood_tokens(requests, *args, **options)

        def generate_until(self, requests: Any, *args: Any, **options: Any) -> Any:
            self._tasks_of.clear()
            for request in requests:
                self._tasks_of[request.args[0]].append(request.task_name)
            return super().generate_until(requests, *args, **options)

        def tok_batch_encode(
            self,
            strings: Any,
            padding_side: str = "left",
            left_truncate_len: int | None = None,
            truncation: bool = False,
        ) -> Any:
            if left_truncate_len:
                # Whole: the harness's own notice is of a batch's longest.
                _, mask = super().tok_batch_encode(strings, padding_side, None, truncation)
                for text, tokens in zip(strings, mask.sum(1).tolist(), strict=True):
                    if tasks := self._tasks_of[text]:
                        self.cut[tasks.pop()] += tokens > left_truncate_len
            return super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)

    # Its own tokenizer: the harness sets a padding token.
    tokenizer = copy.deepcopy(subject.view.tokenizer)
    model = Counting(
        pretrained=subject.model,
        tokenizer=tokenizer,
        batch_size=subject.batch_size,
        think_end_token=think_end(tokenizer),
    )
    model.chat_template_args = dict(kwargs)
    return model


def think_end(tokenizer: Any) -> int | None:
    """The token behind which the harness takes an answer to begin; None where there is none."""
    known = tokenizer.get_vocab()
    return next((known[mark] for mark in THINK_ENDS if mark in known), None)


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Without those of the harness's warnings that say nothing here; all others are shown."""

    def said(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(NOISE)

    # A logger's filter is not asked for what the loggers below it say.
    loggers = [logging.getLogger(f"lm_eval.{name}") for name in ("models.huggingface", "evaluator")]
    for logger in loggers:
        logger.addFilter(said)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(said)
