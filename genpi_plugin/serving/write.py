"""From a config to the file: what `axolotl genpi-template` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpi_plugin.data.rendering import Renderer
from genpi_plugin.data.templates import JINJA_FILE
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.subjects.load import load_config, load_tokenizer
from genpi_plugin.serving.checked import Checked, check
from genpi_plugin.serving.learned import check_any_system, learned
from genpi_plugin.serving.patterns import Internalized
from genpi_plugin.serving.template import HOLDS, MARK, written

# Rows that are rendered both ways before anything is written.
CHECKED = 100
# Where transformers keeps further templates by name, and takes one of them for requests with tools.
NAMED = "additional_chat_templates"


@dataclass(frozen=True)
class Written:
    """What was written where, and what is left out of requests."""

    path: Path
    internalized: list[Internalized]
    checked: Checked
    holds_texts: bool
    notes: list[str]


def write_template(
    config: Path,
    output: Path,
    adapter: Path | None = None,
    any_system: bool = False,
    any_tools: bool = False,
) -> Written:
    """Write the base model's template without what an adapter has internalized.

    Args:
        output: a file, or a folder of a model, whose `chat_template.jinja` it becomes.
        adapter: its folder; the config's `output_dir` by default.

    Raises:
        GenPIError: there is no manifest, or none of its prompts in the datasets; the template is
            another than that saved with the adapter; it can't be made to give the student's
            requests; the file can't be written.
    """
    cfg = load_config(config, {})
    adapter = adapter or Path(cfg.output_dir)
    path = _path(cfg, output)
    found = learned(cfg, adapter)
    if any_system:
        check_any_system(found.rows)
    tokenizer = load_tokenizer(cfg)
    kwargs = dict(cfg.get("chat_template_kwargs") or {})
    source = Renderer(tokenizer, kwargs).source
    _check_saved(adapter, source)
    new = written(source, found.internalized, kwargs, any_system, any_tools)
    rows = found.rows[:CHECKED]
    checked = check(tokenizer, source, kwargs, new, rows, any_tools)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(new, encoding="utf-8", newline="\n")
    except OSError as error:
        raise GenPIError(f"{path} can't be written: {error}.", "name another file.") from None
    return Written(path, found.internalized, checked, HOLDS in new, found.notes)


def _path(cfg: Any, output: Path) -> Path:
    """The file to write.

    Raises:
        GenPIError: training would read it as the original, or a server would not read it.
    """
    path = output / JINJA_FILE if output.is_dir() else output
    own = [str(cfg.get(key)) for key in ("base_model", "tokenizer_config") if cfg.get(key)]
    given = str(cfg.get("chat_template_jinja") or "")
    if path.parent.resolve() in {Path(one).resolve() for one in own} or (
        len(given) < 4096 and "{" not in given and given and path.resolve() == Path(given).resolve()
    ):
        raise GenPIError(
            f"{path} belongs to the base model: the next training would read it.",
            "name another file, or the folder of the merged model.",
        )
    if (path.parent / NAMED).is_dir() and path.name == JINJA_FILE:
        raise GenPIError(
            f"{path.parent} holds further chat templates ({NAMED}), and servers take one of them "
            "for requests with tools.",
            "remove that folder, or write the template elsewhere and name it to the server.",
        )
    return path


def _check_saved(adapter: Path, source: str) -> None:
    """The config's template is the one that training saved with the adapter, where it did.

    Raises:
        GenPIError: it is another.
    """
    saved = adapter / JINJA_FILE
    text = saved.read_text("utf-8") if saved.is_file() else source
    if MARK not in text and text.strip() != source.strip():
        raise GenPIError(
            f"the chat template in {saved} is another than the config's.",
            "give the config as it was when the adapter was trained.",
        )
