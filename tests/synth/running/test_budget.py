"""A run stops at what it may cost: no request beyond it, none of what was paid for lost."""

import json

import pytest

from synth.progress.cost import spent
from synth.store.store import Store
from tests.synth.cli.commands_run import bytes_of, synth
from tests.synth.scripted import answers, write_task
from tests.synth.server import serve

PRICES = ("--price-in", 1000, "--price-out", 2000)
AT_ONCE = 4


@pytest.fixture
def server():
    with serve(answers, models=None, delay=0.01) as served:
        yield served


def command(tmp_path, server, out, *more):
    task = write_task(tmp_path / "t", inputs={"count": 20})
    return ("run", task, "-o", tmp_path / out, "--model", "m", "--base-url", server.url,
            "--concurrency", AT_ONCE, *more)  # fmt: skip


def stored(folder):
    store = Store(folder / "store.sqlite", read_only=True)
    answers = [json.loads(text) for (text,) in store._run("SELECT answer FROM answers")]
    store.close()
    return answers


def tokens(answers):
    return [answer["prompt_tokens"] + answer["completion_tokens"] for answer in answers]


@pytest.mark.parametrize(
    ("option", "limit", "prices"),
    [("--max-tokens-total", 4000, ()), ("--max-cost", 4.5, PRICES)],
)
def test_a_limit_stops_the_run_and_a_higher_one_goes_on(tmp_path, server, option, limit, prices):
    def run(out, *more):
        return synth(*command(tmp_path, server, out, *prices, *more))

    assert run("whole")[0] == 0
    needed = server.count
    server.requests.clear()
    out = tmp_path / "out"
    code, printed = run("out", option, limit)
    assert code == 4, printed
    assert f"{option} {limit:,} is reached: this folder took" in printed
    assert "rows are finished" in printed
    assert f"with a higher {option}" in printed
    kept = stored(out)
    assert len(kept) == server.count < needed  # all that was sent is stored
    record = json.loads((out / "run.json").read_text())
    assert not record["finished"]
    assert sum(tokens(kept)) == sum(map(sum, spent(record).values()))
    taken = (
        sum(tokens(kept))
        if not prices
        else sum(a["prompt_tokens"] + 2 * a["completion_tokens"] for a in kept) / 1000
    )
    most = max(tokens(kept)) * (1 if not prices else 2 / 1000)
    assert limit <= taken <= limit + AT_ONCE * most
    assert not list((out / "data").glob("*")) if (out / "data").exists() else True

    code, printed = synth("status", out)
    assert f"The last run stopped: {option} {limit:,} is reached" in printed
    assert "with a higher limit" in printed

    asked = server.count
    code, printed = run("out", option, limit)
    assert code == 4  # the folder's total counts, not the run's
    assert server.count == asked
    assert "(earlier runs included)" in printed
    assert run("out", option, 10 * limit)[0] == 0
    assert server.count == needed  # nothing was asked twice
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    assert "stopped_by" not in json.loads((out / "run.json").read_text())
    assert run("out", option, limit)[0] == 0  # all is stored: nothing has to be asked


def test_given_inputs_stop_at_the_limit_too(tmp_path, server):
    path = tmp_path / "inputs.txt"
    path.write_text("".join(f"please find item {number}\n" for number in range(20)))
    code, printed = synth(*command(tmp_path, server, "out", "--inputs", path,
                                   "--max-tokens-total", 1500))  # fmt: skip
    assert code == 4, printed
    assert len(stored(tmp_path / "out")) == server.count


def test_tries_for_inputs_that_were_sent_are_stored(tmp_path, server):
    server.delay = 0.1
    code, printed = synth(*command(tmp_path, server, "out", "--max-tokens-total", 400))
    assert code == 4, printed
    assert "0 of 20 rows are finished" in printed
    server.settle()
    assert len(stored(tmp_path / "out")) == server.count


def test_a_limit_of_cost_needs_prices(tmp_path, server):
    code, printed = synth(*command(tmp_path, server, "out", "--max-cost", 5))
    assert code == 1
    assert "--max-cost needs to know what tokens cost" in printed
    assert "--price-in and --price-out" in printed
    assert not (tmp_path / "out").exists()


def test_a_server_that_does_not_count_can_be_held_to_no_limit(tmp_path, server, monkeypatch):
    whole = server.handle

    def uncounted(body, key):
        reply = whole(body, key)
        return {name: value for name, value in reply.items() if name != "usage"}

    monkeypatch.setattr(server, "handle", uncounted)
    code, printed = synth(*command(tmp_path, server, "out", "--max-tokens-total", 5000))
    assert code == 1
    assert "m does not tell how many tokens it reads and writes" in printed
    assert server.count <= 2 * AT_ONCE


def test_what_earlier_versions_noted_counts():
    record = {"stages": {"outputs": {"target": {"tokens_in": 10, "tokens_out": 2}},
                         "reasons": {"generator": {"tokens_in": 3, "tokens_out": 1}}}}  # fmt: skip
    assert spent(record) == {"target": (10, 2), "generator": (3, 1)}
    assert spent({}) == {"target": (0, 0), "generator": (0, 0)}
