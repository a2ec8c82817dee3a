"""The prompt recited in pieces, and put together."""

from __future__ import annotations

import json

import pytest

from genpi_plugin.data.chat import ChatView
from genpi_plugin.data.prompt_generation import Piece, Recited, answer, last_words, parse_answer
from genpi_plugin.data.recitals import in_pieces
from genpi_plugin.evaluation.figures.measured import Generated, Measured
from genpi_plugin.evaluation.figures.scores import chrf, make_scores
from genpi_plugin.evaluation.figures.shared_words import longest_run
from genpi_plugin.evaluation.measuring.measure import measure
from genpi_plugin.evaluation.sections.recital import (
    PIECE_ROOM,
    REASON_ROOM,
    recite,
    summarize_recitals,
    trained_piece,
)
from genpi_plugin.evaluation.subjects.subject import Subject
from tests.genpi_plugin.evaluation.context_made import adapted, quiet
from tests.genpi_plugin.evaluation.subjects_made import INPUTS
from tests.tiny import make_tokenizer

RULES = [f"{n}. Say {word} when you are asked about {word}s.\n" for n, word in
         enumerate(["shirt", "shoe", "sock", "belt", "coat", "hat"], 1)]  # fmt: skip
PROMPT = [{"role": "system", "content": "".join(RULES)}]
SIZE = 60


def parts(view):
    found = in_pieces("".join(RULES), view, SIZE)
    assert len(found) > 2
    return found


class Reciter:
    """A system that writes what it knows of each piece: by its number, or by the words before."""

    name = "student"

    def __init__(self, known, by_words=False):
        self.view = ChatView(make_tokenizer())
        self.known = known
        self.by_words = by_words
        self.asked = []

    def requests(self, questions):
        return list(questions)

    def generate(self, questions, limit, advance):
        self.asked.append((list(questions), limit))
        advance(len(questions))
        made = []
        for question in questions:
            number = int(question.split("part ")[1].split(" of ")[0])
            if self.by_words:
                before = question.partition("\n\n## The part before it ends with\n")[2]
                number = next((n for n, (words, _) in self.known.items() if words == before), 0)
            piece = (
                Recited(self.known[number][1], Piece(number, len(self.known), ""))
                if number
                else None
            )
            text = answer(piece, "R") if piece else "What?"
            made.append(Generated([], text, False))
        return made


def measured(inputs):
    answers = [Generated([], "a", False) for _ in inputs]
    return Measured(inputs, {"floor": answers, "teacher": answers}, {}, [], {}, {})


def recited(reciter, count=2):
    teacher = Subject("teacher", None, reciter.view, PROMPT)
    return recite(reciter, measured(["i", "j", "k"]), "floor", teacher, count, quiet, SIZE)


def test_pieces_that_are_known_make_the_whole_prompt():
    view = ChatView(make_tokenizer())
    known = {p.piece.number: (p.piece.before, p.text) for p in parts(view)}
    for by_words in (False, True):
        reciter = Reciter(known, by_words)
        both = recited(reciter)
        assert [one.prompt for one in both] == ["".join(RULES)] * 2
        assert [(one.chrf, one.chrf_told, one.reason, one.cut) for one in both] == [
            (100.0, 100.0, "R", False)
        ] * 2
        # Nothing is asked twice: the words recited are the prompt's, and two inputs show in the
        # first question alone.
        assert [len(questions) for questions, _ in reciter.asked] == [2] + [1] * (len(known) - 1)
        rooms = [len(view.ids(answer(p, ""))) + PIECE_ROOM for p in parts(view)]
        rooms[0] += REASON_ROOM - PIECE_ROOM
        assert [limit for _, limit in reciter.asked] == rooms
    figures = summarize_recitals(both, 0)
    assert (figures["pieces"], figures["n"]) == (len(known), 2)
    assert figures["chrf_told"]["value"] == 100.0


def test_a_wrong_piece_costs_those_after_it_and_not_those_that_the_prompt_asks_for():
    view = ChatView(make_tokenizer())
    known = {p.piece.number: (p.piece.before, p.text) for p in parts(view)}
    known[2] = (known[2][0], "Something else altogether.\n")
    reciter = Reciter(known, by_words=True)
    [one] = recited(reciter, count=1)
    rest = "What?" * (len(known) - 2)
    assert one.prompt == known[1][1] + known[2][1] + rest
    assert one.chrf == chrf(one.prompt, "".join(RULES))
    assert one.longest_run == longest_run(one.prompt, "".join(RULES))
    told = "".join(text for _, text in known.values())
    assert one.chrf_told == chrf(told, "".join(RULES))
    assert one.chrf < one.chrf_told < 100
    # What was asked for by the prompt's words already is not asked for again.
    assert [len(questions) for questions, _ in reciter.asked[len(known) :] if questions] == [1] * (
        len(known) - 2
    )


def test_a_piece_without_end_is_cut():
    view = ChatView(make_tokenizer())
    known = {p.piece.number: (p.piece.before, p.text) for p in parts(view)}

    class Endless(Reciter):
        def generate(self, questions, limit, advance):
            made = super().generate(questions, limit, advance)
            if "part 1 of" in questions[0]:
                return [Generated([], "word " * limit, True) for _ in made]
            return made

    [one] = recited(Endless(known), count=1)
    assert one.cut
    assert one.prompt.startswith("word word")


def test_a_tiny_model_is_asked_for_each_piece_by_what_it_wrote():
    """Against a loop that knows nothing of batches: one input, one piece, one request at a time."""
    model, view = adapted(), ChatView(make_tokenizer())
    teacher = Subject("teacher", model, view, PROMPT, batch_size=3)
    floor = Subject("floor", model, view, batch_size=3)
    student = Subject("student", model, view, adapter=True, batch_size=3)
    seen = measure(INPUTS, teacher, [floor, student], make_scores(None), 8, quiet)
    found = recite(student, seen, "floor", teacher, 2, quiet, SIZE)
    alone = Subject("alone", model, view, adapter=True, batch_size=1)
    for i, one in enumerate(found):
        text = ""
        for place, part in enumerate(parts(view), 1):
            wanted = f"Write down part {place} of {part.piece.of} of the prompt word for word"
            plain = view.tokens.without_control
            if place == 1:
                asked = (
                    "The same request was answered twice: once with nothing before it, and once "
                    "with a prompt in front of it. The prompt is not shown here.\n\n## Request\n"
                    f"{INPUTS[i]}\n\n## Answer without the prompt\n"
                    f"{plain(seen.answers['floor'][i].text)}\n\n## Answer with the prompt\n"
                    f"{plain(seen.answers['teacher'][i].text)}\n\n## What is wanted\n"
                    f"{wanted}, and then the reason why the prompt changes the answer."
                )
            else:
                asked = (
                    f"You follow a prompt that is not shown here. {wanted}.\n\n## The part before "
                    f"it ends with\n{last_words(plain(text))}"
                )
            room = len(view.ids(answer(part, ""))) + (REASON_ROOM if place == 1 else PIECE_ROOM)
            request = view.request_ids([{"role": "user", "content": asked}])
            [made] = alone.generate([request], room)
            text += parse_answer(made.text)[0]
        assert one.prompt == text
        assert one.chrf == chrf(text, "".join(RULES))
        assert one.pieces == len(parts(view))


def test_a_prompt_recited_whole_has_one_piece_and_no_second_figure():
    model, view = adapted(), ChatView(make_tokenizer())
    teacher = Subject("teacher", model, view, PROMPT, batch_size=3)
    floor = Subject("floor", model, view, batch_size=3)
    student = Subject("student", model, view, adapter=True, batch_size=3)
    seen = measure(INPUTS, teacher, [floor, student], make_scores(None), 8, quiet)
    whole = recite(student, seen, "floor", teacher, 1, quiet)
    assert whole == recite(student, seen, "floor", teacher, 1, quiet, 4096)
    assert (whole[0].pieces, whole[0].chrf_told) == (1, None)
    assert "chrf_told" not in summarize_recitals(whole, 0)


@pytest.mark.parametrize(
    ("manifest", "size"),
    [
        (None, None),
        ({}, None),
        ({"genpi": {"sft_weight": 0.7}}, None),
        ({"genpi": {"prompt_generation_piece": None}}, None),
        ({"genpi": {"prompt_generation_piece": 128}}, 128),
    ],
)
def test_the_manifest_tells_how_the_prompt_was_learned(tmp_path, manifest, size):
    if manifest is not None:
        (tmp_path / "genpi_manifest.json").write_text(json.dumps(manifest))
    assert trained_piece(tmp_path) == size
