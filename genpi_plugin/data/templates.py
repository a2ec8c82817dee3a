"""Chat templates as files: which one a config names, those that are installed, what they read.

A template's text is read without the tokenizer, so that prepared data and stores can be named
after it before anything is loaded.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox

from genpi_plugin.data import digests
from genpi_plugin.errors import ConfigError

JINJA_FILE, TOKENIZER_CONFIG = "chat_template.jinja", "tokenizer_config.json"
# Folders of templates in installed packages, and how a YAML names a file in them.
SHIPPED = {
    "axolotl": ("utils/chat_templates/templates", "chat_template: {stem}"),
    "trl": ("chat_templates", "chat_template_jinja: {path}"),
}
CLOCK = "strftime_now"
FORMAT = re.compile(CLOCK + r"\(\s*(?:format\s*=\s*)?(['\"])(.*?)\1")
# transformers' own block, which Jinja does not know.
GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


# Arguments that switch thinking off, as templates name them.
OFF: dict[str, Any] = {
    "enable_thinking": False,
    "thinking": False,
    "enable_reasoning": False,
    "reasoning": False,
    "think": False,
    "thinking_budget": 0,
}
# And one that is a matter of degree, in templates that know this degree.
EFFORT, NO_EFFORT = "reasoning_effort", "none"


@functools.cache
def shipped() -> dict[str, Path]:
    """The chat templates that installed packages bring, by the line of YAML that chooses them."""
    found = {}
    for package, (folder, line) in SHIPPED.items():
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted((Path(root) / folder).glob("*.jinja")):
                found[line.format(stem=path.stem, path=path)] = path
    return found


def name_of(source: str) -> str:
    """The line of YAML that chooses this very template, or ""."""
    same = (line for line, path in shipped().items() if path.read_text("utf-8") == source)
    return next(same, "")


def variables(source: str) -> set[str]:
    """The names that a template reads and does not set: what `chat_template_kwargs` may give."""
    environment = jinja2.sandbox.SandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return jinja2.meta.find_undeclared_variables(environment.parse(GENERATION.sub("", source)))
    except jinja2.TemplateError:
        return set()  # rendering it says what is wrong


def thinking_off(source: str) -> dict[str, Any]:
    """The argument with which a template asks a model not to think; {} where it takes none.

    Args:
        source: the template's text.
    """
    known = variables(source)
    found = next(({name: value} for name, value in OFF.items() if name in known), {})
    if not found and EFFORT in known and re.search(rf"""(['"]){NO_EFFORT}\1""", source):
        return {EFFORT: NO_EFFORT}
    return found


def date_variables(source: str) -> list[str]:
    """The variables that give a template its date in place of the clock."""
    return sorted(name for name in variables(source) if "date" in name.lower())


def today(source: str | None, kwargs: Mapping[str, Any] | None = None) -> list[str]:
    """What a template that reads the clock writes today; nothing where it does not read it.

    Args:
        source: the template's text, where it is known.
        kwargs: `chat_template_kwargs`; one that gives the date keeps the template from the clock.
    """
    if not source or CLOCK not in source:
        return []
    if any(name in (kwargs or {}) for name in [CLOCK, *date_variables(source)]):
        return []
    # The clock that renders is the one transformers has, where it is loaded.
    rendering = sys.modules.get("transformers.utils.chat_template_utils")
    now = getattr(rendering, "datetime", datetime).now()
    formats = {form for _, form in FORMAT.findall(source)} or {"%Y-%m-%d"}
    return [now.strftime(form) for form in sorted(formats)]


def of_tokenizer(name: str, revision: str | None = None) -> str | None:
    """The template in a tokenizer's folder, or in the cache of a hub; None where there is none."""
    text = _file(name, JINJA_FILE, revision)
    if text is not None:
        return text
    try:
        found = json.loads(_file(name, TOKENIZER_CONFIG, revision) or "{}").get("chat_template")
    except ValueError:
        return None  # the tokenizer itself won't load either
    if isinstance(found, list):  # several by name
        found = {one.get("name"): one.get("template") for one in found}.get("default")
    return found if isinstance(found, str) else None


def of_config(cfg: Mapping[str, Any]) -> str | None:
    """The template that an axolotl config chooses; None where it can't be read yet."""
    choice = str(cfg.get("chat_template") or "tokenizer_default")
    if cfg.get("chat_template_jinja") and choice in ("jinja", "tokenizer_default"):
        return _jinja(cfg)
    own = of_tokenizer(
        str(cfg.get("tokenizer_config") or cfg.get("base_model")), cfg.get("revision_of_model")
    )
    if choice == "tokenizer_default":
        return own
    fallback = choice.removeprefix("tokenizer_default_fallback_")
    if fallback != choice and own:
        return own
    path = shipped().get(f"chat_template: {fallback}")
    return path.read_text("utf-8") if path else None


def facts(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a config's rendering and is not in its keys: a file's content, the day."""
    found: dict[str, Any] = {}
    if cfg.get("chat_template_jinja"):
        found["chat_template_jinja"] = digests.of(_jinja(cfg))
    if day := today(of_config(cfg), cfg.get("chat_template_kwargs")):
        found["today"] = day
    return found


def settle(cfg: Any) -> None:
    """Make a template that the datasets name the config's own.

    The adapter is served with one template, so there is one for all datasets, for the
    evaluation, and in the tokenizer that is saved.

    Raises:
        ConfigError: two datasets, or a dataset and the config, name different ones.
    """
    for key in ("chat_template", "chat_template_jinja", "chat_template_kwargs"):
        for group in ("datasets", "test_datasets"):
            for number, entry in enumerate(cfg.get(group) or []):
                given = entry.get(key)
                if given is None:
                    continue
                if cfg.get(key) not in (None, given):
                    raise ConfigError(
                        f"`{group}[{number}].{key}: {given}` is another than `{cfg[key]}`, which "
                        "the config or another dataset names.",
                        f"an adapter is trained and served with one template: write `{key}` once, "
                        "at the top of the YAML.",
                    )
                cfg[key] = given


def _jinja(cfg: Mapping[str, Any]) -> str:
    given = str(cfg["chat_template_jinja"])
    try:
        path = Path(given)
        return path.read_text("utf-8") if path.is_file() else given
    except OSError:
        return given  # too long for a file's name: the template itself


def _file(name: str, file: str, revision: str | None) -> str | None:
    path: Any = Path(name).expanduser() / file
    if not Path(name).expanduser().is_dir():
        try:
            from huggingface_hub import try_to_load_from_cache

            path = try_to_load_from_cache(name, file, revision=revision)
        except (ImportError, ValueError):
            return None
        if not isinstance(path, str):
            return None
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return None
