"""From what runs left to the page: curves, who is ahead when, and pictures."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from benchmarks import rows_curve
from benchmarks.drawing import Line, draw
from benchmarks.figures import over_seeds
from benchmarks.peers import __main__ as peers
from benchmarks.peers.points import Point, curve, points, reached, standings
from benchmarks.peers.tables import page, picture

SVG = "{http://www.w3.org/2000/svg}"


def interval(value, spread=0.1):
    return {"value": value, "ci_low": value - spread, "ci_high": value + spread}


def line(name, values, every, seed=0):
    """Points a step each, `every` seconds from one to the next."""
    return [
        Point(name, seed, step, step / 4, every * step, every * step / 2, 3.0,
              {"internalization": interval(value), "valid": interval(value)})
        for step, value in enumerate(values, 1)
    ]  # fmt: skip


def save_run(folder, values, seconds):
    """A run's files as its trainer and the evaluation leave them."""
    folder.mkdir(parents=True)
    names = [f"step-{step:05}" for step in range(1, len(values) + 1)]
    moments = [
        {"adapter": name, "step": step, "epoch": step / 2, "seconds": seconds * step,
         "cpu_seconds": step, "start_seconds": 1.5}
        for step, name in enumerate(names, 1)
    ]  # fmt: skip
    (folder / "moments.jsonl").write_text("".join(json.dumps(one) + "\n" for one in moments))
    figures = {name: {"internalization": interval(value), "kl_to_teacher": interval(1 - value),
                      "chrf": interval(50.0)}
               for name, value in zip(names, values, strict=True)}  # fmt: skip
    if len(values) == 1:
        figures = {"student": figures[names[0]]}
    figures |= {"teacher": {"valid": interval(0.92)}, "floor": {"valid": interval(0.1)}}
    (folder / "report").mkdir()
    cost = {"request_tokens_with_prompt": 1234.0, "request_tokens_without_prompt": 40.0}
    metrics = {"systems": figures, "cost": cost, "n": 60}
    (folder / "report" / "metrics.json").write_text(json.dumps(metrics))


def test_a_peer_is_ahead_from_its_better_adapter_to_our_next():
    ours, peer = line("ours", [0.5, 0.9], 10), line("sft", [0.2, 0.6, 0.75, 0.95], 4)
    # Ours: 0.5 at 10 s, 0.9 at 20 s. The peer: 0.2 at 4, 0.6 at 8, 0.75 at 12, 0.95 at 16, all with
    # 0.1 to each side.
    same = "not told apart"
    assert standings(ours, peer) == [("behind", 4, 10), (same, 10, 12), ("behind", 12, 20),
                                     (same, 20, None)]  # fmt: skip
    assert standings(peer, ours)[0] == ("ahead", 4, 10)
    slow = line("sft", [0.8, 0.6], 14)
    assert standings(ours, slow) == [("ahead", 10, 14), ("behind", 14, 20), (same, 20, 28),
                                     ("ahead", 28, None)]  # fmt: skip
    assert standings(ours, slow, "cpu_seconds")[1] == ("behind", 7, 10)
    assert reached(ours, 9.9) is None
    assert reached(ours, 19.9) == interval(0.5)
    assert reached(ours, 1000) == interval(0.9)


def test_equal_values_are_a_tie_and_undefined_ones_tell_nothing():
    def alone(name, value):
        bare = {"value": value, "ci_low": None, "ci_high": None}
        return [Point(name, 0, 1, 1.0, 10.0, 5.0, 1.0, {"internalization": bare})]

    tie = [("not told apart", 10.0, None)]
    assert standings(alone("ours", 0.5), alone("sft", 0.5)) == tie
    assert standings(alone("ours", 0.5), alone("sft", 0.51)) == [("behind", 10.0, None)]
    assert standings(alone("ours", None), alone("sft", 0.5)) == tie


def test_a_curve_over_seeds_has_means_and_each_ones_end():
    found = [*line("ours", [0.4, 0.8, 0.9], 10), *line("ours", [0.6, 0.8], 20, seed=1)]
    first, second, end = curve(found)
    assert first.seconds == 15
    assert first.figures["internalization"]["value"] == pytest.approx(0.5)
    half = 12.7062 * 0.1  # t of one degree of freedom, times the standard error
    assert first.figures["internalization"]["ci_high"] == pytest.approx(0.5 + half, abs=1e-3)
    assert second.figures["internalization"]["ci_low"] == pytest.approx(0.8)
    assert (end.step, end.seconds) == (2.5, 35)
    assert end.figures["internalization"]["value"] == pytest.approx(0.85)
    assert over_seeds([interval(0.3)]) == interval(0.3)
    apart = [line("sft", [0.1, 0.2], 10)[0], line("sft", [0.1, 0.6], 10, seed=1)[1]]
    [only] = curve(apart)  # no step that both have, and still on the page
    assert (only.step, only.figures["internalization"]["value"]) == (1.5, pytest.approx(0.35))
    assert "| sft | axolotl's `chat_template` on the rows' conversations | 2 | 1.5 |" in page(
        apart, []
    )


def test_the_page_says_who_is_ahead_and_when():
    found = [*line("ours", [0.5, 0.9], 10), *line("sft", [0.4, 0.65], 8),
             *line("official", [0.1, 0.2], 100)]  # fmt: skip
    text = page(found, ["A note."])
    assert text.startswith("A note.\n")
    assert ("| ours | `genpi: {}`, the defaults | 1 | 2 | 3 | 20 | 10 | 10.00 | "
            "0.900 [0.800, 1.000] | 90% [80%, 100%] |") in text  # fmt: skip
    assert "| | 10 s | 20 s | 200 s |" in text
    assert "| official | - | - | 0.200 |" in text
    # At 8 s there is an adapter of sft and none of ours; at 16 s its 0.65 is not above our 0.5.
    assert ("- `ours` is ahead at every second of: official. Else: sft is ahead from 8 s to 10 s; "
            "not told apart from sft from 10 s to 20 s.") in text  # fmt: skip
    text = page([*line("ours", [0.9], 5), *line("sft", [0.4], 8)], [])
    assert "- `ours` is ahead at every second of: sft." in text
    text = page([*line("ours", [0.4], 8), *line("sft", [0.9], 5)], [])
    assert "- `ours` is ahead at every second of: no peer. Else: sft is ahead from 5 s on." in text
    assert page([], []) == "Nothing is measured yet."


def test_the_picture_has_a_point_an_adapter_and_names_the_best_first():
    found = [*line("ours", [0.5, 0.9], 10), *line("sft", [0.4, 0.95], 8)]
    root = ET.fromstring(picture(found, "Who & when"))
    assert root.attrib["aria-label"] == "Who & when"
    circles = root.findall(f"{SVG}circle")
    assert len(circles) == 4
    heights = [float(one.attrib["cy"]) for one in circles]
    assert heights[1] < heights[0]  # upward
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert texts.index("sft 0.95") < texts.index("ours 0.90")


def test_names_stand_apart_and_inside_where_many_end_low():
    lines = [Line(f"line {n}", [(1, interval(0.5)), (2, interval(-0.15 + 0.001 * n))])
             for n in range(9)]  # fmt: skip
    root = ET.fromstring(draw(lines, "t", "x", "y"))
    heights = [float(one.attrib["y"]) for one in root.findall(f"{SVG}text")
               if (one.text or "").startswith("line ")]  # fmt: skip
    assert len(heights) == 9
    assert all(after - before >= 16 for before, after in pairwise(heights))
    assert heights[-1] < float(root.attrib["height"]) - 4


def test_a_value_that_is_not_defined_is_not_drawn():
    nothing = {"value": None, "ci_low": None, "ci_high": None}
    svg = draw([Line("one", [(1, nothing), (2, interval(0.5))])], "t", "x", "y")
    assert svg.count("<circle") == 1
    with pytest.raises(ValueError, match="no line"):
        draw([Line("one", [(1, nothing)])], "t", "x", "y")


def test_report_reads_the_runs_and_writes_points_page_and_picture(tmp_path, monkeypatch, capsys):
    out, data = tmp_path / "out", tmp_path / "data"
    save_run(out / "runs" / "ours-seed0", [0.6, 0.9], seconds=7)
    save_run(out / "runs" / "ours_distill-seed0", [0.7], seconds=5)
    (out / "runs" / "sft-seed1").mkdir()
    data.mkdir()
    (data / "run.json").write_text(json.dumps({"seconds": 321.4, "runs": 1}))
    argv = ["peers", str(data), "held.txt", "--report", "-o", str(out)]
    monkeypatch.setattr(sys, "argv", argv)
    peers.main()
    text = capsys.readouterr().out
    assert text.startswith(
        "60 held-out requests of 1,234 tokens with the prompt and 40 without; "
        "teacher well-formed 92%; floor well-formed 10%.\n"
    )
    assert "took 321 s" in text
    assert "\nNot run: ours_on_policy, ours_keep, official, sdft, distillation, gkd.\n" in text
    assert "\nBegun and not measured, as it failed or is not done: sft, seed 1.\n" in text
    assert "| ours_distill | distillation alone, no recitals | 1 | 1 |" in text
    assert (out / "peers.md").read_text() == text
    kept = json.loads((out / "points.json").read_text())
    assert [(one["name"], one["step"], one["seconds"]) for one in kept] == [
        ("ours", 1, 7), ("ours", 2, 14), ("ours_distill", 1, 5),
    ]  # fmt: skip
    assert ET.fromstring((out / "peers.svg").read_text()).tag == f"{SVG}svg"
    assert points(out / "runs" / "sft-seed0", "sft", 0) == []


def test_rows_curve_shows_each_number_of_rows(tmp_path):
    for rows, value in ((50, 0.5), (200, 0.8)):
        for seed in (0, 1):
            folder = tmp_path / f"rows-{rows:05}" / f"ours-seed{seed}"
            save_run(folder, [value + 0.02 * seed], seconds=rows)
    save_run(tmp_path / "rows-00050" / "ours_distill-seed0", [0.1], seconds=50)
    text = rows_curve.report(tmp_path, "ours")
    assert text.startswith("Trained as `ours`.\n")
    assert "| 50 | 2 | 0.5 | 1 | 50 | 0.510 [" in text
    assert "| 200 | 2 | 0.5 | 1 | 200 | 0.810 [" in text
    assert text.index("| 50 ") < text.index("| 200 ")
    assert (tmp_path / "rows.svg").read_text().count("<circle") == 2
    assert len(json.loads((tmp_path / "points.json").read_text())) == 4
    assert "| 50 | 1 | 0.5 | 1 | 50 | 0.100 [" in rows_curve.report(tmp_path, "ours_distill")
    assert rows_curve.report(tmp_path, "sft") == "Nothing of `sft` is measured yet."


def test_rows_curve_names_seeds_that_end_at_other_steps(tmp_path):
    for seed, step in ((0, 1), (1, 9)):
        folder = tmp_path / "rows-00050" / f"ours-seed{seed}"
        save_run(folder, [0.5], seconds=50)
        path = folder / "moments.jsonl"
        path.write_text(path.read_text().replace('"step": 1,', f'"step": {step},'))
    with pytest.raises(SystemExit, match=r"of 50 rows .*\(seed 0 at step 1, seed 1 at step 9\)"):
        rows_curve.report(tmp_path, "ours")
