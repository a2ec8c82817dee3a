"""The task's prompt in a log: slots with values in them, and prompts that are nearly the task's."""

from __future__ import annotations

import pytest

from genpi_plugin.data.inputs.own_prompt import OwnPrompt
from genpi_plugin.errors import GenPIError
from tests.genpi_plugin.data.inputs.test_logs import SYSTEM, read, says

LETTER = "You serve {{ name }}.\nIt is {{ day }}.\nNever say the price to {{ name }}.\nBe brief."
ASK = says("user", "a")


def filled(text=LETTER, name="Ada", day="Monday"):
    return text.replace("{{ name }}", name).replace("{{ day }}", day)


def log(text, **more):
    return {"messages": [says("system", text), ASK], **more}


def slotted(*texts):
    roles = ("system", "user", "assistant")
    return OwnPrompt([says(*one) for one in zip(roles, texts, strict=False)], slots=True)


def test_the_difference_shown_is_the_line_that_differs_and_no_slot(tmp_path):
    logs = [log(filled(name=name).replace("Never say", "Always tell")) for name in ("Ada", "Bob")]
    with pytest.raises(GenPIError) as caught:
        read(tmp_path, [*logs, log(filled() + "\nBe kind.")], slotted(LETTER))
    assert (
        "line 1, 2: message 1 of the prompt (system) is another from its line 3 on:\n"
        "    - Never say the price to {{ name }}.\n    + Always tell the price to {{ name }}.\n"
        in caught.value.cause
    )
    assert (
        "line 3: message 1 of the prompt (system) is another from its line 5 on:\n"
        "    - (no such line)\n    + Be kind."
    ) in caught.value.cause
    assert "more lines" not in caught.value.cause
    assert "other differences" not in caught.value.cause


def test_a_value_in_the_differing_line_parts_no_logs(tmp_path):
    logs = [log(f"Serve {name} in a shop of hats.") for name in ("Ada", "Bob Lee")]
    with pytest.raises(GenPIError) as caught:
        read(tmp_path, logs, slotted("Serve {{ name }} in a shop of socks."))
    assert "line 1, 2: " in caught.value.cause
    assert "    + Serve {{ name }} in a shop of hats." in caught.value.cause


def test_a_value_of_several_lines_is_no_difference(tmp_path):
    text = filled(day="Monday\nor Tuesday").replace("Be brief", "Be long")
    with pytest.raises(GenPIError, match=r"from its line 4 on:\n    - Be brief.\n    . Be long."):
        read(tmp_path, [log(text)], slotted(LETTER))


NAMES = slotted("Serve {{ first }} {{ last }}.")
NAMED = "Serve Anna Maria Lopez."


def test_values_that_can_not_be_told_are_those_beside_the_log(tmp_path):
    slots = {"first": "Anna Maria", "last": "Lopez"}
    for beside in (slots, {"first": "Anna Maria"}, {"last": "Lopez"}):
        given = read(tmp_path, [log(NAMED, slots=beside)], NAMES)
        assert given.inputs[0].values == slots
        assert not any("ignored" in note for note in given.notes)
    with pytest.raises(GenPIError, match="line 1: the log's prompt is the task's, and which") as e:
        read(tmp_path, [log(NAMED)], NAMES)
    assert '"slots"' in e.value.cure
    with pytest.raises(GenPIError, match="which values its slots have can't be told"):
        read(tmp_path, [{"messages": [says("user", NAMED + "\n\na")]}],
             OwnPrompt([says("user", "Serve {{ first }} {{ last }}.")], slots=True))  # fmt: skip


def test_an_earlier_turn_tells_what_a_later_one_leaves_open(tmp_path):
    own = slotted("Serve {{ first }}.", "{{ first }} {{ last }}", "Yes.")
    turns = [says("system", "Serve Anna Maria."), says("user", "Anna Maria Lopez"),
             says("assistant", "Yes."), ASK]  # fmt: skip
    [one] = read(tmp_path, [{"messages": turns}], own).inputs
    assert one.values == {"first": "Anna Maria", "last": "Lopez"}


def test_a_log_and_the_values_beside_it_must_agree(tmp_path):
    with pytest.raises(GenPIError, match="`slots` says 'Bob', and the log's prompt says 'Ada'"):
        read(tmp_path, [log(filled(), slots={"name": "Bob"})], slotted(LETTER))


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ("Serve {{ name }}", "Serve"),
        ("Serve {{ name }}", "Serve "),
        ("{{ name }} asks.", "asks."),
        ("{{ name }} and {{ name }}", "and"),
    ],
)
def test_a_value_at_an_end_may_be_empty(tmp_path, own, text):
    [one] = read(tmp_path, [log(text)], slotted(own)).inputs
    assert one.values == {"name": ""}


def test_ends_of_lines_are_no_difference(tmp_path):
    dos = SYSTEM.replace("\n", "\r\n")
    for mine, its in ((SYSTEM, dos), (dos, SYSTEM)):
        assert read(tmp_path, [log(its)], OwnPrompt([says("system", mine)])).inputs[0].values == {}
        own = OwnPrompt([says("user", mine)])
        sent = {"messages": [says("user", its + "\r\n\r\na\r\nb")]}
        assert read(tmp_path, [sent], own).inputs[0].text == "a\r\nb"
    text = filled().replace("\n", "\r\n")
    assert read(tmp_path, [log(text)], slotted(LETTER)).inputs[0].values["day"] == "Monday"


@pytest.mark.parametrize("slots", [False, True])
def test_a_first_turn_that_begins_like_the_prompt_and_is_not_it_is_refused(tmp_path, slots):
    mine = says("user", LETTER if slots else SYSTEM)
    text = filled() if slots else SYSTEM
    for prompt in ([mine], [mine, says("assistant", "Yes.")]):
        other = text.replace("Never", "Always") + "\n\na"
        with pytest.raises(GenPIError, match=r"    - Never say the price.*\n    . Always"):
            read(tmp_path, [{"messages": [says("user", other)]}], OwnPrompt(prompt, slots=slots))
