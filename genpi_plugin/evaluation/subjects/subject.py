"""A system under evaluation: one model, with or without prompt, with the adapter on or off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from genpi_plugin.data import thoughts
from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.messages import Message
from genpi_plugin.data.requests import Input, under
from genpi_plugin.data.tools import Tool
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.measured import Generated
from genpi_plugin.reading.context import context_of_model
from genpi_plugin.reading.generation import end_tokens, pad_token
from genpi_plugin.reading.prefix import PrefixCache
from genpi_plugin.reading.writing import answers as written

__all__ = ["Input", "Subject"]
GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}


class Subject:
    """Answers requests; `reading.py` gives its next-token distributions along given answers."""

    def __init__(
        self,
        name: str,
        model: Any,
        view: ChatView,
        prompt: Sequence[Message] = (),
        adapter: bool | str = False,
        batch_size: int = 16,
        tools: Sequence[Tool] = (),
        own: Sequence[str] = (),
    ) -> None:
        """
        Args:
            prompt: the messages before every request; its slots get each request's values.
            tools: the tools of every request.
            adapter: off, on, or, of several, the name of the one that is on.
            own: texts whose marks mark no thoughts: a pattern that scores look for.
        """
        self.name = name
        self.model = model
        self.view = view
        self.prompt = list(prompt)
        self.tools = list(tools)
        self.own = tuple(own)
        self.adapter = adapter
        self.batch_size = batch_size
        self._prefix: PrefixCache | None = None

    def request(self, asked: Input) -> list[int]:
        """Token ids of the request as this system receives it."""
        return self.view.request_ids(under(self.prompt, asked), self.tools)

    def requests(self, inputs: Sequence[Input]) -> list[list[int]]:
        return [self.request(one) for one in inputs]

    def generate(
        self,
        requests: Sequence[list[int]],
        max_new_tokens: int,
        advance: Callable[[int], None] = lambda n: None,
    ) -> list[Generated]:
        """Greedy answers, in the order of the requests.

        Args:
            advance: called with the number of requests answered, after each batch.

        Raises:
            GenPIError: a request is longer than the model reads.
        """
        self._check_lengths(requests)
        answers: dict[int, Generated] = {}
        with self.switched(), torch.inference_mode():
            lengths = [len(request) for request in requests]
            longest = max(lengths, default=0) + max_new_tokens
            prefix = self.prefix_of(requests, longest, generating=True)
            for made in written(
                self.model, prefix, requests, max_new_tokens, self.end_ids,
                pad_token(self.view.tokenizer), self.batch_size, lambda _: GREEDY,
            ):  # fmt: skip
                answers |= {i: self._answer(ids, requests[i]) for i, ids in made.items()}
                advance(len(made))
        return [answers[i] for i in range(len(requests))]

    def _check_lengths(self, requests: Sequence[list[int]]) -> None:
        limit = context_of_model(self.model)
        longest = max(map(len, requests), default=0)
        if limit and longest > limit:
            raise GenPIError(
                f"a request of the system `{self.name}` has {longest} tokens, but the model reads "
                f"{limit} at most (max_position_embeddings).",
                "shorten the prompt or the inputs, or stretch the positions (`rope_scaling` in "
                "`overrides_of_model_config`).",
            )

    def _answer(self, ids: list[int], request: list[int]) -> Generated:
        """What an answer says; `ids` include the token that ends it."""
        end_ids = self.end_ids
        place = next((i for i, token in enumerate(ids) if token in end_ids), None)
        # Marks of thoughts may be special tokens, and may stand at the request's end.
        begun = thoughts.begun(self._decoded(request[-thoughts.MARK_TOKENS :]))
        said, thought = thoughts.thoughts_apart(begun + self._decoded(ids[:place]), self.own)
        if thought is None:
            said = self._decoded(ids[:place], skip_special_tokens=not thoughts.marks_in(self.own))
        return Generated(ids, said.strip(), place is None, thought or "")

    def _decoded(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        text: str = self.view.tokenizer.decode(
            list(ids),
            skip_special_tokens=skip_special_tokens,
            clean_up_tokenization_spaces=False,
        )
        return text

    def prefix_of(
        self, requests: Sequence[list[int]], longest: int = 0, generating: bool = False
    ) -> PrefixCache:
        """The cache of what all requests begin with; recomputed only when that start changes.

        Call it inside `switched()`.

        Args:
            longest: tokens of the longest row, its answer included.
            generating: whether answers will be written behind it.
        """
        found = PrefixCache(self.model, requests, self._prefix, longest, generating)
        self._prefix = found if found.ids else self._prefix
        return found

    @contextlib.contextmanager
    def switched(self) -> Iterator[None]:
        """The model as this system: its adapter on, or all adapters off."""
        self.model.eval()
        if isinstance(self.adapter, str) and self.model.active_adapters != [self.adapter]:
            self.model.set_adapter(self.adapter)
        if self.adapter or not hasattr(self.model, "disable_adapter"):
            yield
        else:
            with self.model.disable_adapter():
                yield

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end an answer."""
        return end_tokens(self.model, self.view)
