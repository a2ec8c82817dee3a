"""The prompt as an adapter writes it out when it is asked as in training: at once, or in pieces.

A prompt in pieces is asked for piece by piece, each named by the last words of what was recited up
to there: nothing of the prompt is told but the number of its pieces. Where these words are not the
prompt's, the piece is asked for by the prompt's words as well, which shows how much of the rest is
known and not reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genpi_plugin.data.prompt_generation import (
    Piece,
    Recited,
    last_words,
    parse_answer,
    question,
    recited_text,
)
from genpi_plugin.data.prompt_generation import answer as recital_answer
from genpi_plugin.data.recitals import in_pieces
from genpi_plugin.data.transcripts import prompt_text
from genpi_plugin.evaluation.figures import intervals
from genpi_plugin.evaluation.figures.measured import Generated, Measured
from genpi_plugin.evaluation.figures.scores import chrf
from genpi_plugin.evaluation.figures.shared_words import longest_run
from genpi_plugin.evaluation.measuring.context import Context
from genpi_plugin.evaluation.measuring.measure import Progress
from genpi_plugin.evaluation.subjects.subject import Subject
from genpi_plugin.training.manifest import read_manifest

# Tokens that a recital may have besides the prompt's, for its reason.
REASON_ROOM = 512
# The same for a piece that is told without one.
PIECE_ROOM = 64
# An input with the floor's and the teacher's answer.
Shown = tuple[str, str, str]
# Called with the number of recitals that are done.
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Recital:
    """The prompt as the adapter wrote it out when asked as in training.

    `chrf` (0 to 100) is against the prompt; `longest_run` counts the words of the longest run that
    both texts share. `pieces` is the number of requests it took, and `chrf_told` the `chrf` of what
    came when each was asked for by the prompt's own words; None for a prompt asked for at once.
    """

    input: str
    prompt: str
    reason: str
    cut: bool
    chrf: float
    longest_run: int
    pieces: int = 1
    chrf_told: float | None = None


def trained_piece(adapter: Path) -> int | None:
    """The size of the pieces that an adapter learned its prompt in; None for whole prompts.

    Adapters without a manifest, or with one that doesn't tell, learned them whole.
    """
    return ((read_manifest(adapter) or {}).get("genpi") or {}).get("prompt_generation_piece")


def measure_recitals(context: Context, count: int, size: int | None) -> list[Recital] | None:
    """Ask the first student for the prompt, on `count` of the inputs; None for 0.

    Args:
        size: of the pieces, see `trained_piece`.
    """
    if not count:
        return None
    return recite(context.students[0], context.measured, context.floor.name, context.teacher,
                  count, context.progress, size)  # fmt: skip


def summarize_recitals(recitals: list[Recital], seed: int) -> dict[str, Any]:
    """chrF against the prompt and the longest run, means over the recitals."""
    chrfs = [recital.chrf for recital in recitals]
    runs = [float(recital.longest_run) for recital in recitals]
    told = [recital.chrf_told for recital in recitals if recital.chrf_told is not None]
    return {
        "chrf": intervals.mean(chrfs, seed).as_dict(),
        "longest_run": intervals.mean(runs, seed).as_dict(),
        "n": len(recitals),
        "pieces": recitals[0].pieces,
        **({"chrf_told": intervals.mean(told, seed).as_dict()} if told else {}),
    }


def recite(
    student: Subject,
    measured: Measured,
    floor: str,
    teacher: Subject,
    count: int,
    progress: Progress,
    size: int | None = None,
) -> list[Recital]:
    """Ask for the prompt as in training, on `count` of the inputs.

    Args:
        size: tokens of a piece at most; None to ask for the whole prompt at once.
    """
    whole = recited_text(prompt_text(teacher.prompt), teacher.tools)
    pieces = in_pieces(whole, student.view, size)
    plain = student.view.tokens.without_control
    answers = measured.answers
    shown = [
        (text, plain(answers[floor][i].text), plain(answers[teacher.name][i].text))
        for i, text in enumerate(measured.inputs[:count])
    ]
    steps = len(shown) * len(pieces)
    with progress(f"{student.name} recites", steps) as advance:
        own = _in_turn(student, shown, pieces, advance)
    told = own
    if len(pieces) > 1:
        with progress(f"{student.name} recites by the prompt's words", steps) as advance:
            told = _by_the_prompt(student, shown, pieces, own, advance)
    recitals = []
    for (text, *_), given, named in zip(shown, own, told, strict=True):
        recited, (_, reason) = _joined(given), parse_answer(given[0].text)
        cut = any(one.cut for one in given)
        chrf_told = chrf(_joined(named), whole) if len(pieces) > 1 else None
        recitals.append(
            Recital(
                text, recited, reason, cut,
                chrf(recited, whole), longest_run(recited, whole),
                len(pieces), chrf_told,
            )
        )  # fmt: skip
    return recitals


def _in_turn(
    student: Subject, shown: Sequence[Shown], pieces: Sequence[Recited], advance: Advance
) -> list[list[Generated]]:
    """The pieces by input, each asked for by what was recited before it."""
    given: list[list[Generated]] = [[] for _ in shown]
    for one in pieces:
        asked = [
            question(*texts, _named(one.piece, before, student))
            for texts, before in zip(shown, given, strict=True)
        ]
        for answers, made in zip(given, _ask(student, asked, one, advance), strict=True):
            answers.append(made)
    return given


def _by_the_prompt(
    student: Subject,
    shown: Sequence[Shown],
    pieces: Sequence[Recited],
    given: Sequence[Sequence[Generated]],
    advance: Advance,
) -> list[list[Generated]]:
    """The same by the prompt's own words; what was asked for by them already is taken over."""
    found = [list(answers) for answers in given]
    for place, one in enumerate(pieces):
        other = [
            i
            for i, before in enumerate(given)
            if _named(one.piece, before[:place], student) != one.piece
        ]
        asked = [question(*shown[i], one.piece) for i in other]
        for i, made in zip(other, _ask(student, asked, one, advance), strict=True):
            found[i][place] = made
        advance(len(shown) - len(other))
    return found


def _ask(
    student: Subject, questions: Sequence[str], recited: Recited, advance: Advance
) -> list[Generated]:
    """Answers with room for the prompt or its piece, and for a long reason where one is told. What
    is asked for in the same words is so once."""
    tokens = len(student.view.ids(recital_answer(recited, "")))
    room = tokens + (REASON_ROOM if recited.has_reason else PIECE_ROOM)
    asked = list(dict.fromkeys(questions))
    given = student.generate(student.requests(asked), room, advance) if asked else []
    advance(len(questions) - len(asked))
    answers = dict(zip(asked, given, strict=True))
    return [answers[one] for one in questions]


def _named(piece: Piece | None, before: Sequence[Generated], student: Subject) -> Piece | None:
    """A piece, named by what was recited before it."""
    if piece is None:
        return None
    text = student.view.tokens.without_control(_joined(before))
    return replace(piece, before=last_words(text))


def _joined(answers: Sequence[Generated]) -> str:
    return "".join(parse_answer(one.text)[0] for one in answers)
