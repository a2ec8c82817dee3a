"""A drafted task.yml is valid and says what was drafted, whatever that is."""

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.drafting.fill import Drafted, filled, remarked
from synth.task.config import TaskConfig
from synth.task.scaffold import TASK_YML

SCAFFOLD = TASK_YML.format(folder="t", name="t", prompt="prompt.md")
# What YAML may take for something else.
TEXTS = st.one_of(
    st.text(min_size=1, max_size=60),
    st.sampled_from(["no", "1.5", "a: b", "a # b", "- a", "'", '"', "{x}", " lead", "a\n b\n", "|",
                     "2024-05-15", "a\n\n  b", "{{ text }}\n{% x %}", "\x85", "key:\n\ttab"]),
)  # fmt: skip


def test_values_stand_with_their_sources_and_the_scaffold_s_comments():
    seeds = Drafted("inputs.seeds", (("from the prompt", ["a\nb"]), ("by m: check", ["c: d"])))
    lists = Drafted("inputs.vary", (("by m: check", {"persona": ["x"]}), ("too", {"topic": ["y"]})))
    environment = Drafted("conversations.environment", (("by m: check", "a guest"),))
    text, refused = filled(SCAFFOLD, [seeds, lists, environment])
    assert refused == []
    data = yaml.safe_load(text)
    assert data["inputs"]["seeds"] == ["a\nb", "c: d"]
    assert data["inputs"]["vary"] == {"persona": ["x"], "topic": ["y"]}
    expected = """\
  seeds:  # a handful of real examples, the more varied the better
    # from the prompt
    - |-
      a
      b
    # by m: check
    - 'c: d'
"""
    assert expected in text
    assert "  # by m: check\n  environment: a guest  # who answers the agent\n" in text
    # All else is as it was.
    rest = {k: v for k, v in data["inputs"].items() if k not in ("seeds", "vary")}
    before = yaml.safe_load(SCAFFOLD)["inputs"]
    assert rest == {k: v for k, v in before.items() if k not in ("seeds", "vary")}
    assert text.count("\n#") == SCAFFOLD.count("\n#")


@settings(deadline=None, max_examples=150)
@given(st.lists(TEXTS, min_size=1, max_size=3), TEXTS, st.dictionaries(st.just("topic"), st.lists(
    TEXTS, min_size=1, max_size=2), min_size=1))  # fmt: skip
def test_any_text_is_written_as_it_is_or_refused(seeds, end, vary):
    drafts = [
        Drafted("inputs.seeds", (("here", seeds),)),
        Drafted("conversations.end_condition", (("here", end),)),
        Drafted("inputs.vary", (("here", vary),)),
    ]
    text, refused = filled(SCAFFOLD, drafts)
    data = yaml.safe_load(text)
    config = TaskConfig.model_validate(data)
    if drafts[0] not in refused:
        assert list(config.inputs.seeds) == seeds
    if drafts[1] not in refused:
        assert config.conversations.end_condition == end
    if drafts[2] not in refused:
        assert {name: list(texts) for name, texts in config.inputs.vary.items()} == vary
    if all(text.isprintable() for text in (*seeds, end, *vary["topic"])):
        assert refused == []


def test_what_the_file_would_not_take_is_refused():
    wrong = [
        Drafted("action_pattern", (("here", "(["),)),  # no regular expression
        Drafted("inputs.seeds", (("here", ["\0"]),)),
        Drafted("inputs.wrap", (("here", "no text in it"),)),
        Drafted("inputs.nothing", (("here", "x"),)),
        Drafted("filters", (("here", ["role_markers"]),)),  # stands on several lines
    ]
    text, refused = filled(SCAFFOLD, wrong)
    assert refused == wrong
    assert text == SCAFFOLD


def test_a_remark_stands_above_its_key():
    text = remarked(SCAFFOLD, "inputs.seeds", "not drafted: m refuses")
    assert "  # not drafted: m refuses\n  seeds: []                      # CHANGE" in text
    assert yaml.safe_load(text) == yaml.safe_load(SCAFFOLD)
    assert remarked(SCAFFOLD, "nothing.there", "x") == SCAFFOLD
