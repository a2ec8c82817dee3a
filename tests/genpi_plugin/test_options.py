"""Each option that axolotl ships works, has no effect, or is refused by name.

docs/axolotl-options.md is made from the table. Anew: python -m tests.genpi_plugin.test_options
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from genpi_plugin.checks import check_config, without_effect
from genpi_plugin.errors import ConfigError
from genpi_plugin.options import DATASET_KEYS, OPTIONS, PLUGINS, Group, listed_plugins
from tests import ROOT

PAGE = ROOT / "docs" / "axolotl-options.md"
START = (
    "<!-- options: made by `python -m tests.genpi_plugin.test_options`, checked by the tests -->\n"
)
END = "<!-- end of options -->"
DATASET = {"path": "data/shop", "type": "genpi_plugin.strategy"}
VERDICTS = {"refused": "Refused", "no effect": "Without effect", "works": "Working"}
UNKNOWN = """\
axolotl has {what} that genpi_plugin/options.py does not name: {names}.
For each, read what axolotl does with it, try it on a tiny model where that is possible, and add it
to a group there: "works", "no effect" (with the reason) or "refused" (with reason and cure).
Then make the page anew: python -m tests.genpi_plugin.test_options"""


def integrations() -> list[Path]:
    import axolotl.integrations

    [folder] = axolotl.integrations.__path__
    return [path for path in Path(folder).iterdir() if (path / "__init__.py").is_file()]


def plugin_arguments(folders: list[Path]) -> Iterator[str]:
    """The options of axolotl's plugins: fields of the models that `get_input_args` names.

    Read from the source, because several plugins import packages that need not be installed.
    """
    named = re.compile(r"def get_input_args\(.*?return \"[\w.]+\.(\w+)\"", re.DOTALL)
    for folder in folders:
        sources = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
        classes = [
            node
            for source in sources
            for node in ast.parse(source).body
            if isinstance(node, ast.ClassDef)
        ]
        for model in (found for source in sources for found in named.findall(source)):
            [definition] = [node for node in classes if node.name == model]
            assert [ast.unparse(base) for base in definition.bases] == ["BaseModel"], model
            for node in definition.body:
                if isinstance(node, ast.AnnAssign):
                    yield ast.unparse(node.target)


def axolotls_options() -> set[str]:
    from axolotl.utils.schemas.config import AxolotlInputConfig

    return {*AxolotlInputConfig.model_fields, *plugin_arguments(integrations())}


def names(groups: tuple[Group, ...]) -> list[str]:
    return [name for group in groups for name in group.names()]


def check(found: set[str], groups: tuple[Group, ...], what: str) -> None:
    unknown = ", ".join(sorted(found - set(names(groups))))
    assert not unknown, UNKNOWN.format(what=what, names=unknown)


def test_every_option_of_axolotl_is_in_the_table():
    found = axolotls_options()
    assert {"kd_trainer", "liger_cross_entropy", "use_eaft", "base_model"} <= found
    check(found, OPTIONS, "options")


def test_every_plugin_of_axolotl_is_in_the_table():
    check({path.name for path in integrations()}, PLUGINS, "plugins")


def test_every_key_of_a_dataset_entry_is_in_the_table():
    from axolotl.utils.schemas.datasets import SFTDataset

    check(set(SFTDataset.model_fields), DATASET_KEYS, "keys of a dataset entry")


@pytest.mark.parametrize("groups", [OPTIONS, PLUGINS, DATASET_KEYS])
def test_nothing_has_two_verdicts_or_one_without_a_reason(groups):
    assert len(names(groups)) == len(set(names(groups)))
    assert all(group.why or group.verdict == "works" for group in groups)


def refused(groups: tuple[Group, ...]) -> list[str]:
    return names(tuple(group for group in groups if group.verdict == "refused"))


@pytest.mark.parametrize("key", refused(OPTIONS))
def test_what_is_refused_is_named_with_reason_and_cure(key):
    check_config({"datasets": [DATASET], key: None})
    with pytest.raises(ConfigError) as error:
        check_config({"datasets": [DATASET], key: 2})
    assert f"`{key}: 2` can't be combined with `genpi:`: " in error.value.cause
    assert error.value.cure


@pytest.mark.parametrize("key", refused(DATASET_KEYS))
def test_a_key_of_an_entry_that_is_refused_is_named(key):
    with pytest.raises(ConfigError, match=rf"`datasets\[1\]\.{key}: x` can't be combined"):
        check_config({"datasets": [DATASET, {**DATASET, key: "x"}]})


@pytest.mark.parametrize("folder", refused(PLUGINS))
@pytest.mark.parametrize("form", ["axolotl.integrations.{}.Plugin", "{}.Plugin", "{}:Plugin"])
def test_a_plugin_that_is_refused_is_named(folder, form):
    name = form.format(folder)
    with pytest.raises(ConfigError, match=f"the plugin `{name}` can't be combined"):
        check_config({"datasets": [DATASET], "plugins": ["genpi_plugin.GenPIPlugin", name]})


def test_other_plugins_are_nobodys_business():
    plugins = ["genpi_plugin.GenPIPlugin", "axolotl.integrations.liger.LigerPlugin", "mine.Plugin"]
    check_config({"datasets": [DATASET], "plugins": plugins})
    assert "liger" in listed_plugins({"plugins": plugins})
    assert "genpi_plugin" not in listed_plugins({"plugins": plugins})


@pytest.mark.parametrize(
    "cfg",
    [
        {"eval_table_size": 0, "rl": None, "train_on_inputs": False, "kd_trainer": False},
        {"context_parallel_size": 1, "tensor_parallel_size": 1, "expert_parallel_size": 1},
        {"learning_rate": 1e-4, "some_other_plugins_key": {"a": 1}},
    ],
)
def test_an_option_at_rest_is_not_refused(cfg):
    check_config({"datasets": [DATASET], **cfg})


def test_what_has_no_effect_is_said():
    [line] = without_effect({"liger_cross_entropy": True, "liger_rope": True, "eot_tokens": []})
    assert line.startswith("`liger_cross_entropy: True` has no effect: the plugin computes")


def test_the_log_says_what_has_no_effect(caplog):
    from genpi_plugin.plugin import GenPIPlugin

    logging.getLogger("axolotl").propagate = True
    cfg = {"genpi": {}, "datasets": [DATASET], "base_model": "tiny", "pad_to_sequence_len": True}
    with caplog.at_level("INFO"):
        GenPIPlugin().register(cfg)
    assert "`pad_to_sequence_len: True` has no effect: the plugin lays out" in caplog.text


def page() -> str:
    """The tables of the page, one line a group; what is refused comes first."""
    lines: list[str] = []
    for verdict, heading in VERDICTS.items():
        columns = ["for", "options"] if verdict == "works" else ["for", "options", "why"]
        lines += [f"## {heading}", "", line(columns), line(["---"] * len(columns))]
        for kind, groups in (
            ("", OPTIONS),
            ("plugins: ", PLUGINS),
            ("of a dataset: ", DATASET_KEYS),
        ):
            for group in groups:
                if group.verdict == verdict:
                    keys = kind + ", ".join(f"`{name}`" for name in sorted(group.names()))
                    why = group.why + (f". To do: {group.cure}" if group.cure else "")
                    lines.append(line([group.about, keys, why][: len(columns)]))
        lines.append("")
    return "\n".join(lines)


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def test_the_page_is_the_table():
    assert PAGE.read_text().partition(START)[2].partition(END)[0] == page()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(before + START + page() + END + rest.partition(END)[2])
