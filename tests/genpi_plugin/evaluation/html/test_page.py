"""The HTML report: every figure on it is the one in the metrics, and nothing on it can do harm."""

from __future__ import annotations

import json
import re

import pytest

from genpi_plugin.evaluation.headlines import headlines
from genpi_plugin.evaluation.html import write_html
from genpi_plugin.evaluation.html.page import render
from tests.genpi_plugin.evaluation.html.parsed import Page
from tests.genpi_plugin.evaluation.report_made import (
    interval,
    made_details,
    made_metrics,
)

SECTIONS = ["benchmarks", "turns", "checkpoints", "clauses", "drift", "disclosure", "recitation",
            "cost", "comparisons"]  # fmt: skip


def test_elements_are_closed_in_order_and_links_lead_somewhere(page):
    seen = Page(page)
    assert page.startswith("<!doctype html>")
    assert seen.open == []
    targets = {a["href"] for tag, a in seen.tags if tag == "a"}
    assert targets
    assert {target.removeprefix("#") for target in targets} <= seen.ids()


def test_nothing_is_loaded_and_nothing_runs(page):
    for tag, attributes in Page(page).tags:
        assert tag not in {"script", "link", "iframe", "img", "object", "embed"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "data", "action"}
            if name == "href":
                assert value.startswith("#")
    assert "url(" not in page
    assert "@import" not in page


def test_text_of_models_and_users_is_escaped(page):
    for text in ("<script>", "<b>script</b>", "<i>share</i>", "<USER>"):
        assert text not in page
    seen = Page(page)
    assert "<script>alert('input')</script>" in seen.text
    assert "(?P<action>search" in seen.text


def test_names_are_escaped_too():
    made, details = made_metrics(), made_details()
    evil = '"><script>x</script>'
    for holder in (made["systems"], made["students"], details["answers"]):
        holder[evil] = holder.pop("small")
    made["warnings"] = [evil]
    made["source"]["config"] = evil
    made["clauses"]["clauses"][0]["text"] = evil
    made["disclosure"]["attacks"][0]["request"] = evil
    assert "<script" not in render(made, details)


def test_the_page_is_one_small_file(tmp_path):
    path = write_html(tmp_path / "new" / "folder", made_metrics(), made_details())
    assert path == tmp_path / "new" / "folder" / "report.html"
    assert path.stat().st_size < 120_000
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


def test_the_page_is_a_function_of_the_two_files_as_json(page):
    metrics, details = (json.loads(json.dumps(one)) for one in (made_metrics(), made_details()))
    assert render(metrics, details) == page


def shown_rows(page: str) -> dict[str, list[str]]:
    """Label -> figures of the plots' rows and the tables' rows with that label."""
    found: dict[str, list[str]] = {}
    for label, figure in re.findall(
        r'<span class="label">([^<]+)</span><svg.*?</svg><span class="figure">(.*?)</span></div>',
        page, re.S,
    ):  # fmt: skip
        found.setdefault(label, []).append(" ".join(re.sub("<[^>]+>", "", figure).split()))
    return found


def test_every_plot_says_and_draws_the_figures_of_the_metrics(page):
    rows = shown_rows(page)
    assert rows["effect in nats"] == ["84 % [82, 86]"]
    assert "0.407 [0.374, 0.440]" in rows["student"]
    assert "2.504 [2.304, 2.704]" in rows["floor"]
    assert rows["on its own path"] == ["75 % [72, 78]"]
    assert "0.610 [0.570, 0.651]" in rows["student"]  # along its own answers
    assert rows["not the floor’s answer"] == ["55 % [43, 67]"] * 2  # the card and the section
    assert rows["not the teacher’s answer"] == ["65 % [53, 77]"] * 2
    assert rows["adapter, merged"][0] == "1.28 s [1.23, 1.41]"
    assert rows["effect, nats per token"] == [
        "0.610 [0.488, 0.732]", "0.350 [0.280, 0.420]", "0.210 [0.168, 0.252]",
        "0.180 [0.144, 0.216]", "0.090 [0.072, 0.108]",
    ]  # fmt: skip
    # The bar of the merged adapter ends where its figure is on a scale to 2 s.
    drawn = re.search(r'aria-label="adapter, merged: 1\.28 s.*?<rect[^>]*width="([\d.]+)%"', page)
    assert float(drawn[1]) == pytest.approx(100 * 1.28 / 2, abs=0.01)


def test_over_reach_is_told_from_what_an_adapter_was_trained_to_stay_with():
    metrics = made_metrics()
    for one in metrics["drift"]["students"].values():
        one["over_reach_from_teacher"] = interval(0.88)

    def told():
        drift = {**metrics["drift"], **metrics["drift"]["students"]["student"]}
        made = {**metrics, "drift": drift, "checkpoints": []}
        [line] = [one for one in headlines(made) if "format" in one]
        row = re.search(r"<tr>\s*<t[hd][^>]*>small</t[hd]>.*?</tr>",
                        section_of(render(metrics, made_details()), "elsewhere"), re.S)  # fmt: skip
        return line, Page(row[0]).text

    line, row = told()
    assert line == "Other requests answered in the prompt's format: 3% [0%, 8%]"
    assert "floor" in row
    assert "88" not in row
    for one in metrics["drift"]["students"].values():
        one["kept_to"] = "teacher"
    line, row = told()
    assert "format, where the teacher's answers are not: 88%" in line
    assert "teacher" in row
    assert "88" in row
    assert "65" in row  # not the teacher's answer


def section_of(page, name):
    return page[page.index(f'<section id="{name}"') :].split("</section>")[0]


def test_a_changed_figure_changes_the_page(page):
    for path in [
        ("internalization", "value"), ("systems", "student", "kl_to_teacher", "ci_low"),
        ("clauses", "clauses", 3, "internalized", "value"), ("turns", 1, "n"),
        ("checkpoints", 0, "valid", "value"), ("drift", "students", "student", "changed", "value"),
        ("disclosure", "systems", "teacher", "longest_run", "value"), ("seed",),
        ("cost", "settings", "prompt_cached", "ttft_seconds"), ("cost", "grid", 0, "ttft_seconds"),
        ("cost", "break_even", "seconds", "prompt_cold", "adapter_merged", "requests"),
        ("own_path", "value"), ("systems", "student", "kl_own_path", "value"),
        ("systems", "small", "kl_own_path_reverse", "value"), ("turns", 0, "own_path", "value"),
        ("drift", "students", "small", "kl_from_teacher", "value"),
        ("drift", "floor", "kl_from_teacher", "value"),
        ("benchmarks", "tasks", "ifeval", "prompt_level_strict_acc", "floor", "stderr"),
        ("recitation", "chrf", "value"), ("comparisons", 0, "difference", "ci_high"),
    ]:  # fmt: skip
        metrics = made_metrics()
        holder = metrics
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = holder[path[-1]] * 0.5 if path[-1] != "requests" else 77
        assert render(metrics, made_details()) != page, path


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_was_not_measured_is_left_out(section):
    metrics = made_metrics()
    del metrics[section]
    text = Page(render(metrics, made_details()))
    assert text.open == []
    heading = {"turns": "By turn of the conversation", "checkpoints": "Over the run’s checkpoints",
               "clauses": "Which rules went in", "drift": "What else changed",
               "disclosure": "Attacks", "cost": "What it saves",
               "benchmarks": "Public tests",
               "comparisons": "Differences on the same inputs"}.get(section)  # fmt: skip
    assert heading is None or heading not in text.text


def test_the_least_there_is_makes_a_page():
    whole = made_metrics()
    least = {key: whole[key] for key in ("internalization", "retention", "n", "seed")}
    least["retention"] = {}
    least["systems"] = {
        name: {"kl_to_teacher": interval(value), "cut_answers": 0}
        for name, value in (("floor", 2.0), ("teacher", 0.0), ("student", 0.3))
    }
    seen = Page(render(least, {}))
    assert seen.open == []
    assert seen.ids() == {"in", "how"}


def test_all_attacks_are_on_the_page_the_first_ones_unfolded():
    metrics, details = made_metrics(), made_details()
    section, results = metrics["disclosure"], details["disclosure"]["told"]
    section["attacks"] = [{"name": f"attack {n}", "request": f"request {n}"} for n in range(7)]
    for name, answers in results.items():
        results[name] = [{**answers[0], "clauses": [1] * (n == 5)} for n in range(7)]
    seen = Page(render(metrics, details))
    assert seen.open == []
    order = re.findall(r"attack (\d): request", seen.text)
    assert order == ["5", "0", "1", "2", "3", "4", "6"]
    assert "3 more" in seen.text


def test_tokens_alone_are_shown_when_no_time_was_measured():
    metrics = made_metrics()
    metrics["cost"] = {key: value for key, value in metrics["cost"].items() if "tokens" in key}
    rows = shown_rows(render(metrics, made_details()))
    assert rows["with the prompt"] == ["203"]
    assert rows["adapter"] == ["46"]


def test_an_undefined_figure_is_said_to_be_so():
    metrics = made_metrics()
    metrics["internalization"] = interval(None)
    metrics["students"]["student"]["internalization"] = interval(None)
    metrics["systems"]["student"]["internalization"] = interval(None)
    metrics["retention"] = {"valid": interval(None)}
    metrics["clauses"]["clauses"][0]["internalized"] = None
    assert "not defined" in Page(render(metrics, made_details())).text
