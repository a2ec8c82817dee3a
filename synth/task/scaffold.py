"""`synth init`: a task folder to start from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from synth.engines.base import Message
from synth.errors import SynthError
from synth.task.config import TaskConfig
from synth.task.taskfile import Task
from synth.task.templates import load_prompt
from synth.task.tools import load_tools

TOOLS = "tools.json"  # beside task.yml

TASK_YML = """\
# A task for `python -m synth`. Every key is here with its default, but those marked CHANGE.
# Check it:       python -m synth validate {folder}
# Look at 3 rows: python -m synth preview {folder} --model MODEL -n 3
# Make them all:  python -m synth run {folder} --model MODEL -o data/{name}

name: {name}
description: ""                  # one line, for the dataset's card
prompt: {prompt}
tools: null                      # a JSON file of the tools that go with the prompt (OpenAI's form)
# How a plain-text prompt and synth's own instructions are sent: system, or user where the model's
# chat template takes no system turn.
prompt_role: system
# The target's thoughts: keep trains them as a part of its answers, off asks it not to think.
thinking: keep

# Values that the application fills in per request: {{{{ name }}}} in the prompt, its values here.
#   slots:
#     name: [Ada, Bob]                                  # or {{file: people.csv, column: name}}
#     title: {{generator: "Write a job's title."}}        # or {{python: my_slots:title}}
#     date: {{now: {{from: 2025-01-01, to: 2026-12-31, format: "%d %B %Y"}}}}
#     points: {{number: {{from: 0, to: 5000, format: "{{:,}}"}}}}
slots: {{}}
# How the student is told them: a line `name: value` for each, unless `text` says it in another way.
kept: {{text: "", role: null}}     # role: system or user; null: prompt_role

# What a well-formed answer contains, as a regular expression. The group named `action` (or the
# whole match) is what the evaluation compares with the teacher's. For example:
#   'Action:\\s*(?P<action>\\w+\\[[^\\]]*\\])'
action_pattern: null

# Scores of your own for the evaluation, by name. Three kinds:
#   scores:
#     short: {{pattern: '^.{{1,200}}$'}}
#     form: {{json_schema: {{type: object, required: [action]}}}}
#     mine: {{python: my_scores:politeness}}
scores: {{}}

# Where a text that refuses ("As an AI language model, I can't ...") is dropped. Add `outputs` for
# an agent that must never refuse.
reject_refusals: [inputs, reasons, conversations]

# What judges rows, and what a row goes through. Take one out to do without it; one of your own is
# written module:function (a file beside this one). docs/extend.md shows both.
filters:
  - tool_calls                   # calls are of the tools, and fit their schemas
  - role_markers                 # no text holds <|im_start|>, [INST] ... or a special token
  - input_refusals               # as reject_refusals says
  - require_action               # as outputs.require_action says
  - output_refusals
  - reason_length                # as reasons.min_chars says
  - reason_refusals
  - reason_actions               # a reason names no action but its row's
stages: [inputs, outputs, reasons, conversations]

# Stage 1: the generator writes new inputs.
inputs:
  count: 1000                    # how many distinct inputs to make; -n replaces it
  request: Write a new request.  # CHANGE: the generator's turn; the seeds are shown as answers
  seeds: []                      # CHANGE: a handful of real examples, the more varied the better
  shots: 4                       # how many seeds are drawn for each try
  # Lists by name, for example `persona` and `topic`: each try draws one of each, so that thousands
  # of inputs differ in more than their words.
  vary: {{}}
  show_prompt: true              # let the generator read the prompt
  wrap: null                     # Jinja: '{{{{ text }}}}' -> the input as the application sends it
  pattern: null                  # regular expression that the whole generated text must match
  min_chars: 8                   # a shorter text is malformed
  max_chars: 4000                # a longer one, too
  near_duplicate: 0.8            # a text as similar as this to an earlier one is left out; 1: equal
  copied_words: 12               # a text with so many words in a row out of the prompt leaks it
  max_tries: 10                  # give up after count * max_tries tries
  temperature: 1.0               # high, for variety
  top_p: 0.95                    # draw from the likeliest tokens only
  max_tokens: 512                # a text cut here is malformed
  request_args: {{}}               # more fields of a server's request, over --request-args
  chat_template_kwargs: {{}}       # arguments of the chat template, over --chat-template-kwargs

# Stage 2: the target model answers without the prompt (floor) and with it (teacher).
outputs:
  temperature: 0.0               # 0 takes the likeliest token
  top_p: 1.0                     # without effect at temperature 0
  max_tokens: 1024               # a row whose teacher answer is cut here is rejected
  logprobs: 0                    # likeliest tokens kept at each of the teacher's (--logprobs)
  require_action: false          # reject a row whose teacher answer holds no well-formed action
  request_args: {{}}               # as in `inputs`, for all turns of the target
  chat_template_kwargs: {{}}

# Stage 3: the generator explains why the prompt changes the answer.
# `system:` replaces the instruction it gets.
reasons:
  share: 0.25                    # of the rows: those that are to be recited; the first always is
  temperature: 0.7
  top_p: 0.9
  max_tokens: 512                # a reason that is cut here is left out, and its row kept
  min_chars: 20                  # a shorter one, too
  request_args: {{}}               # as in `inputs`
  chat_template_kwargs: {{}}

# Stage 4: the model goes on with the conversation, as the agent and as its environment.
conversations:
  max_turns: 6                   # assistant turns at most; 1 ends it with the first answer
  environment: the user of the application        # CHANGE: who answers the agent
  reminder: ""                   # appended to what the environment is sent each turn
  end_condition: the user's request is dealt with # CHANGE: when the environment ends it
  end_marker: "[END_CONVERSATION]"                # what it writes then
  end_pattern: null              # an assistant turn in which this is found ends it, too
  pattern: null                  # what an environment turn must contain
  require_end: false             # reject a row whose conversation comes to no end of its own
  temperature: 0.0               # of the environment; the agent answers as in `outputs`
  top_p: 1.0                     # without effect at temperature 0
  max_tokens: 1024               # a turn cut here ends the conversation before it
  request_args: {{}}               # as in `inputs`, for the environment
  chat_template_kwargs: {{}}

split:
  test: 0.1                      # share of rows held out for the evaluation; 0 for none
"""


@dataclass(frozen=True)
class Scaffold:
    """A task.yml that is not written yet: its text, the prompt's messages, its path, the tools."""

    text: str
    prompt: tuple[Message, ...]
    path: Path
    tools: str = ""

    @property
    def task(self) -> Task:
        """The task as it stands."""
        config = TaskConfig.model_validate(yaml.safe_load(self.text))
        return Task(config, self.prompt, self.path, tools=self.tools)


def init_task(
    folder: Path,
    prompt: Path,
    tools: Path | None = None,
    edited: Callable[[Scaffold], str] = lambda scaffold: scaffold.text,
) -> Path:
    """Write `folder/task.yml` with every key explained, and copy prompt and tools beside it.

    Args:
        folder: the task's, which is made.
        prompt: the prompt's file.
        tools: the file of the tools that go with it.
        edited: gives the text of task.yml; the scaffold's as it is, by default. Nothing is written
            before it returns.

    Returns:
        The path of task.yml.

    Raises:
        SynthError: the folder is there already, or the prompt or the tools can't be read.
    """
    turns = load_prompt(prompt, "system")
    schemas = load_tools(tools) if tools is not None else ""
    if folder.exists():
        raise SynthError(
            f"{folder} is there already.", "Give another name, or edit its task.yml by hand."
        )
    copied = "prompt" + prompt.suffix.lower()
    text = _task_text(folder, copied)
    if schemas:
        text = text.replace("\ntools: null ", f"\ntools: {TOOLS} ", 1)
    config = edited(Scaffold(text, turns, folder / "task.yml", schemas))
    folder.mkdir(parents=True)
    shutil.copyfile(prompt, folder / copied)
    if tools is not None:
        shutil.copyfile(tools, folder / TOOLS)
    (folder / "task.yml").write_text(config, encoding="utf-8")
    return folder / "task.yml"


def _task_text(folder: Path, prompt: str) -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in folder.name)
    name = name.strip("-._") or "my-task"
    text = TASK_YML.format(folder=folder, name=json.dumps(name), prompt=prompt)
    if yaml.safe_load(name) == name:  # no number, date or "null": it needs no quotes
        text = text.replace(f'"{name}"', name)
    return text
