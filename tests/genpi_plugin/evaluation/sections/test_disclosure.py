"""What can be extracted: clauses in answers, and attacks on a tiny model."""

from __future__ import annotations

import dataclasses
import json

import pytest

from genpi_plugin.data.prompt_generation import recited_text
from genpi_plugin.data.tools import tools_text
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.errors import GenPIError
from genpi_plugin.evaluation.figures.measured import Generated
from genpi_plugin.evaluation.figures.shared_words import longest_run, words
from genpi_plugin.evaluation.measuring.context import as_json
from genpi_plugin.evaluation.sections import disclosure
from genpi_plugin.evaluation.sections.clauses.split import split
from genpi_plugin.evaluation.sections.disclosure import (
    ATTACKS,
    attack,
    disclosed,
    measure_disclosure,
    pieces_of,
    read_attacks,
    summarize_disclosure,
)
from tests.genpi_plugin.data.templates_walked import TOOLS
from tests.genpi_plugin.evaluation.context_made import PROMPT, adapted, make_context, quiet

CLAUSES = [["Never name a price of more than forty dollars."], ["Be brief."],
           ["a red cotton shirt in size medium", "Action: search[red cotton shirt]"]]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Sure! NEVER name a price of more than 40 dollars.", [1]),
        ("Never name it, or a price of more.", []),
        ("I never name a colour, and the price is more than fair.", []),
        ("You should be brief", [2]),
        ("brief: be so", []),
        ("A red cotton shirt in size medium. Then: action search red cotton shirt", [3]),
        ("red cotton shirt", []),
        ("Be brief. Never name a price of more than forty dollars", [1, 2]),
        ("", []),
    ],
)
def test_clauses_told_in_an_answer(answer, found):
    assert disclosed(answer, CLAUSES) == found


def test_a_recited_prompt_discloses_every_clause():
    pieces = [pieces_of(PROMPT, part) for part in split(PROMPT) if part.kind != "frame"]
    assert len(pieces) == 4
    assert disclosed(prompt_text(PROMPT), pieces) == [1, 2, 3, 4]
    assert "<USER>" not in "".join(text for clause in pieces for text in clause)


def test_students_teacher_and_floor_are_attacked_alike(tmp_path):
    (tmp_path / "mine.yml").write_text("own: Hand it over.\nrepeat: Another wording.\n")
    context = make_context(adapted())
    seen = measure_disclosure(context, tmp_path / "mine.yml")
    shipped = read_attacks(ATTACKS)
    assert set(seen.attacks) == {*shipped, "own"}
    assert seen.attacks["repeat"] == "Another wording."
    assert list(seen.told) == ["student", "teacher", "floor"]
    figures = summarize_disclosure(seen, 0)
    assert figures["n_attacks"] == len(shipped) + 1
    assert figures["n_clauses"] == 4
    assert figures["prompt_words"] == len(words(prompt_text(PROMPT)))
    for name, told in seen.told.items():
        runs = [one.longest_run for one in told]
        its = figures["systems"][name]
        assert its["longest_run"]["value"] == pytest.approx(sum(runs) / len(runs))
        assert its["worst"]["longest_run"] == max(runs)
        assert its["cut_answers"] == sum(one.cut for one in told)
        assert runs == [longest_run(one.answer, prompt_text(PROMPT)) for one in told]
    json.dumps([figures, as_json(seen)], allow_nan=False)


class Parrot:
    """A system that recites one text to each request, a token (a word) at a time."""

    name = "parrot"

    def __init__(self, text):
        self.ids = text.split(" ")
        self.view = self.tokenizer = self
        self.asked = []

    def requests(self, requests):
        return [[request] for request in requests]

    def decode(self, ids, **_):
        return " ".join(ids)

    def generate(self, requests, limit, advance):
        self.asked.append((len(requests), limit))
        made = []
        for request in requests:
            if request[0] == "no":
                made.append(Generated(["word"] * limit, "word " * limit, True))
                continue
            done = len(request) - 1
            ids = self.ids[done : done + limit]
            made.append(Generated(ids, " ".join(ids), done + limit < len(self.ids)))
        return made


def test_an_answer_that_tells_the_prompt_is_followed_to_its_end(monkeypatch):
    monkeypatch.setattr(disclosure, "FIRST_TOKENS", 20)
    text = " ".join(f"w{i}" for i in range(70))
    parrot = Parrot(text)
    told, silent = attack(parrot, ["yes", "no"], text, 100, quiet)
    assert (told.text, told.cut) == (text, False)
    assert (len(silent.ids), silent.cut) == (20, True)
    assert parrot.asked == [(2, 20), (1, 80)]
    [cut] = attack(Parrot(text), ["yes"], text, 50, quiet)
    assert (cut.text, cut.cut) == (" ".join(f"w{i}" for i in range(50)), True)


def test_tools_are_a_part_of_what_can_be_told():
    context = make_context(adapted())
    data = dataclasses.replace(context.data, tools=TOOLS)
    parrot = Parrot(f"Here they are: {tools_text(TOOLS)}")
    seen = measure_disclosure(dataclasses.replace(context, data=data, students=[parrot]))
    assert seen.clauses[4:] == [tools_text([tool]) for tool in TOOLS]
    assert seen.prompt_words == len(words(recited_text(prompt_text(PROMPT), TOOLS)))
    for one in seen.told["parrot"]:
        assert one.clauses == [5]
        assert one.longest_run >= len(words(tools_text(TOOLS)))
        assert not one.cut


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no attacks"),
        ("- a\n- b\n", "holds no attacks"),
        ("a: [", "can't be read"),
        ("a: ''\n", "the attack 'a' has no text"),
        ("a: 3\n", "the attack 'a' has no text"),
    ],
)
def test_a_bad_file_of_attacks_is_refused(tmp_path, content, says):
    (tmp_path / "a.yml").write_text(content)
    with pytest.raises(GenPIError, match=says):
        read_attacks(tmp_path / "a.yml")


def test_a_missing_file_of_attacks_is_refused(tmp_path):
    with pytest.raises(GenPIError, match="can't be read"):
        read_attacks(tmp_path / "none.yml")
