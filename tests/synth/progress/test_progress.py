import random

import pytest
from rich.console import Console

from synth.engines.base import Answer, Usage
from synth.progress.cost import cost_record, read_cost
from synth.progress.estimate import StageWork, tokens_to_go
from synth.progress.prices import Prices
from synth.progress.progress import STAGES, Tally


class Run:
    """A made-up run on a clock of its own: 32 requests at a time, rows one after another."""

    TURNS = 4  # requests of the longest conversation

    def __init__(self, rows, seed):
        self.now, self.draw, self.rows = 0.0, random.Random(seed), rows
        self.tally = Tally(rows, clock=lambda: self.now)
        self.etas = []

    def answer(self, stage, low, high):
        tokens = self.draw.randint(low, high)
        self.now += tokens / 100  # 100 tokens a second, whoever asks
        self.tally.record(stage, Answer("x", "stop", usage=Usage(50, tokens)), True)

    def go(self):
        waiting = []
        made = 0
        while made < self.rows or waiting:
            while made < self.rows and len(waiting) < 32:
                self.answer("inputs", 20, 40)
                if self.draw.random() < 0.3:
                    self.tally.stages["inputs"].rejected["duplicate"] += 1
                    continue
                self.tally.stages["inputs"].done += 1
                made += 1
                # Short conversations end first, as in a real run.
                waiting.append([0, self.draw.randint(1, self.TURNS)])
            for row in list(waiting):
                self.step(row, waiting)
                self.etas.append((self.now, self.tally.eta))
        return self.now

    def step(self, row, waiting):
        stages = self.tally.stages
        row[0] += 1
        if row[0] == 1:
            self.answer("outputs", 60, 100)
            stages["outputs"].done += 1
        elif row[0] == 2:
            self.answer("reasons", 80, 120)
            stages["reasons"].done += 1
        else:
            self.answer("conversations", 150, 250)
            row[1] -= 1
            if not row[1]:
                stages["conversations"].done += 1
                waiting.remove(row)


@pytest.mark.parametrize("seed", range(4))
def test_the_time_to_go_is_about_right_and_not_too_hopeful(seed):
    run = Run(400, seed)
    end = run.go()
    for share in (0.2, 0.4, 0.6, 0.8):
        now, eta = next(pair for pair in run.etas if pair[0] >= share * end)
        assert eta == pytest.approx(end - now, rel=0.15, abs=10)
    assert run.etas[-1][1] == pytest.approx(0, abs=5)


def test_no_time_is_promised_before_every_stage_is_known():
    run = Run(400, 0)
    run.go()
    assert run.etas[0][1] is None
    assert tokens_to_go(10, [StageWork(5, 0, 50)] * 3 + [StageWork(2, 0, 9)]) is None


def test_tokens_to_go_by_hand():
    """10 wanted. 5 of 6 tries passed at 10 tokens a pass; a fifth of the outputs is lost."""
    stages = [StageWork(5, 1, 50), StageWork(4, 1, 100), StageWork(3, 0, 30), StageWork(3, 0, 65)]
    # inputs 5 * 10; outputs 20 a row; 8 rows reach the last two stages, where one is under way:
    # reasons 10 a row, conversations 65 for three and a quarter.
    assert tokens_to_go(10, stages) == (50 + 100 + (8 * 10 - 30) + (8 * 20 - 65))
    assert tokens_to_go(3, [StageWork(3, 0, 30)] * 4) == 0
    # Nothing is to come when the reasons of two rows were rejected and all others are done.
    ended = [StageWork(9, 1, 90), StageWork(9, 0, 90), StageWork(7, 2, 90), StageWork(7, 0, 90)]
    assert tokens_to_go(9, ended) == 0


def test_tokens_to_go_where_a_stage_is_not_asked_for_every_row():
    """Rows without a reason are through at once; those that wait for theirs count as such."""
    stages = [StageWork(8, 0, 80), StageWork(8, 0, 160), StageWork(7, 0, 30, 6),
              StageWork(4, 0, 40)]  # fmt: skip
    # Of 16 rows: 8 more inputs at 10, outputs at 20, a quarter of the reasons at 30, and
    # conversations, in which four are under way.
    conversations = 40 / (4 + 0.25 * 4) * 16 - 40
    assert tokens_to_go(16, stages) == 80 + 160 + (4 * 30 - 30) + conversations
    none = [StageWork(8, 0, 80), StageWork(8, 0, 160), StageWork(8, 0, 0, 8), StageWork(8, 0, 80)]
    assert tokens_to_go(16, none) == 80 + 160 + 80
    # Somebody waits for a reason, and nobody had one yet.
    unknown = [*none[:2], StageWork(7, 0, 0, 7), none[3]]
    assert tokens_to_go(16, unknown) is None


def test_tokens_to_go_with_a_stage_of_one_s_own():
    """A stage behind the reasons waits for these; a row that it loses has had its conversation."""
    stages = [StageWork(4, 0, 40), StageWork(4, 0, 80), StageWork(4, 0, 40), StageWork(3, 1, 20),
              StageWork(3, 0, 60)]  # fmt: skip
    waits = [(), (0,), (0, 1), (0, 1, 2), (0, 1)]
    # Of four more rows: 10 + 20 + 10 + 5 and a conversation of 15.
    assert tokens_to_go(8, stages, waits) == 4 * (10 + 20 + 10 + 5 + 15)


def test_a_resumed_run_s_stored_answers_count_for_size_but_not_for_pace():
    now = [0.0]
    tally = Tally(10, clock=lambda: now[0])
    for stage in STAGES:
        for _ in range(5):
            tally.record(stage, Answer("x", "stop", usage=Usage(10, 100)), False)
            tally.stages[stage].done += 1
    assert tally.eta is None  # no pace yet
    now[0] = 10.0
    tally.record("inputs", Answer("x", "stop", usage=Usage(10, 100)), True)
    tally.stages["inputs"].done += 1
    # 10 tokens/s; 4 inputs and 5 of each other stage are missing.
    assert tally.eta == pytest.approx((400 + 3 * 500) / 10)
    assert tally.rate == 10.0


def test_money_is_each_model_s_tokens_at_its_price():
    tally = Tally(1, Prices(2.0, 10.0, generator_out=20.0))
    tally.record(
        "outputs", Answer("x", "stop", usage=Usage(1_000_000, 100_000)), True, role="target"
    )
    tally.record(
        "reasons", Answer("x", "stop", usage=Usage(500_000, 50_000)), True, role="generator"
    )
    tally.record(
        "reasons", Answer("x", "stop", usage=Usage(9_000_000, 90_000)), False, role="generator"
    )
    assert tally.money == pytest.approx(2 + 1 + 1 + 1)
    assert "5.00 spent" in tally.line()
    assert Tally(1).money is None


def test_run_json_counts_every_answer_and_adds_up_the_time():
    now = [0.0]
    tally = Tally(1, clock=lambda: now[0])
    tally.record("outputs", Answer("x", "stop", usage=Usage(10, 5)), True, role="target")
    tally.record("reasons", Answer("x", "stop", usage=Usage(20, 7)), False, role="generator")
    now[0] = 3.0
    record = cost_record(tally, {"runs": 2, "seconds": 40.0})
    assert record["stages"]["outputs"] == {
        "target": {"answers": 1, "tokens_in": 10, "tokens_out": 5}
    }
    assert record["stages"]["reasons"] == {
        "generator": {"answers": 1, "tokens_in": 20, "tokens_out": 7}
    }
    assert (record["tokens_in"], record["tokens_out"]) == (30, 12)
    assert (record["runs"], record["seconds"]) == (3, 43.0)
    assert record["money"] is None


def test_answers_whose_tokens_no_server_counted_are_told():
    tally = Tally(1, Prices(2.0, 10.0))
    tally.record("outputs", Answer("x", "stop", usage=Usage(10, 5)), True)
    assert "not counted" not in tally.line()
    assert "uncounted_answers" not in cost_record(tally, {})
    for usage in (Usage(), Usage(10), Usage(None, 5)):
        tally.record("outputs", Answer("x", "stop", usage=usage), True)
    assert "20 tokens in, 10 out" in tally.line()
    assert "without 3 answers whose tokens were not counted" in tally.line()
    assert cost_record(tally, {})["uncounted_answers"] == 3


def test_the_table_fits_eighty_columns():
    tally = Tally(5000)
    for stage in STAGES:
        tally.stages[stage].done = 5000
        tally.stages[stage].in_flight = 256
        tally.record(stage, Answer("x", "stop", usage=Usage(9_876_543, 1_234_567)), True)
    console = Console(width=80, record=True)
    console.print(tally.table())
    printed = console.export_text()
    assert "9,876,543" in printed
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_no_run_json_is_no_cost(tmp_path):
    assert read_cost(tmp_path) == {}
