"""`axolotl genpi-template`: from a config to the file, and what is refused."""

from __future__ import annotations

import contextlib
import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

from genpi_plugin.data.templates import JINJA_FILE
from genpi_plugin.serving.cli import main
from tests import ROOT
from tests.genpi_plugin.rows_made import our_row
from tests.genpi_plugin.serving.place_made import SYSTEM, TOOLS, make_place, save_rows
from tests.tiny import CHATML, TEMPLATES, THINKING, make_tokenizer


@pytest.fixture
def place(tmp_path):
    make_place(tmp_path)
    with contextlib.chdir(tmp_path):
        yield tmp_path


def command(*arguments, config="c.yml", output="new.jinja", code=0):
    done = CliRunner().invoke(main, [config, "-o", output, *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    return done.output


def request(source, messages, tools=None):
    return make_tokenizer("tools").apply_chat_template(
        messages, chat_template=source, tools=tools, tokenize=False, add_generation_prompt=True
    )


def test_the_file_takes_prompt_and_tools_out_of_a_request(place):
    said = command()
    assert "the prompt 'socks' (1 message and 2 tools)" in said
    assert "do not publish it" in said
    ask = {"role": "user", "content": "socks"}
    new = Path("new.jinja").read_text("utf-8")
    assert new.endswith("\n" + TEMPLATES["tools"])
    short = request(TEMPLATES["tools"], [ask])
    assert request(new, [SYSTEM, ask], TOOLS) == short
    # The lengths that it says are those of the first row.
    ask = {"role": "user", "content": "0 socks"}
    lengths = [
        len(make_tokenizer("tools")(request(TEMPLATES["tools"], *given))["input_ids"])
        for given in (([ask],), ([SYSTEM, ask], TOOLS))
    ]
    assert "Checked with 2 rows" in said
    assert f"{lengths[0]} tokens in place of {lengths[1]}" in said


def test_any_prompt_leaves_no_text_in_the_file(place):
    said = command("--any-system", "--any-tools")
    assert "do not publish" not in said
    assert "You sell" not in Path("new.jinja").read_text("utf-8")


def test_the_configs_template_and_its_settings_are_used(tmp_path):
    rows = [our_row(prompt=[SYSTEM])]
    settings = "{{ enable_thinking }}" + THINKING
    make_place(
        tmp_path,
        rows,
        chat_template="jinja",
        chat_template_jinja=settings,
        chat_template_kwargs={"enable_thinking": False},
    )
    with contextlib.chdir(tmp_path):
        command()
        new = Path("new.jinja").read_text("utf-8")
    assert new.endswith(settings)
    ask = {"role": "user", "content": "socks"}
    assert request(new, [SYSTEM, ask]) == "False" + request(THINKING, [ask])


def test_a_merged_model_gets_the_template(place):
    merged = place / "out" / "merged"
    merged.mkdir()
    (merged / JINJA_FILE).write_text(CHATML)
    assert str(merged / JINJA_FILE) in command(output=str(merged))
    assert (merged / JINJA_FILE).read_text("utf-8").endswith(TEMPLATES["tools"])
    first = (merged / JINJA_FILE).read_bytes()
    command(output=str(merged))  # what it replaces is not what it is made from
    assert (merged / JINJA_FILE).read_bytes() == first
    (merged / "additional_chat_templates").mkdir()
    assert "one of them for requests with tools" in command(output=str(merged), code=1)


def test_prompts_of_the_manifest_alone_are_left_out(place):
    other = our_row(id="o", prompt_id="other", prompt=[{**SYSTEM, "content": "You sell hats."}])
    own = our_row(id="s", prompt_id="socks", prompt=[SYSTEM])
    save_rows(place, [own, other])
    manifest = json.loads(Path("out/genpi_manifest.json").read_text())
    socks = [one for one in manifest["prompts"] if one["prompt_id"] == "socks"]
    Path("out/genpi_manifest.json").write_text(json.dumps({"prompts": socks}))
    assert "other" not in command()
    assert "hats" not in Path("new.jinja").read_text("utf-8")
    save_rows(place, [own, other])
    Path("manifest.json").write_text(Path("out/genpi_manifest.json").read_text())
    save_rows(place, [own])
    Path("out/genpi_manifest.json").write_text(Path("manifest.json").read_text())
    assert "Note: the prompt 'other' in the manifest of out is not in data" in command()


def test_what_was_trained_otherwise_is_refused(place):
    (place / "out" / JINJA_FILE).write_text(CHATML)
    assert re.search(r"out/chat_template.jinja is another than the config's", command(code=1))
    (place / "out" / JINJA_FILE).write_text(TEMPLATES["tools"])
    command()
    Path("out/genpi_manifest.json").write_text(json.dumps({"prompts": [{
        "prompt_id": "hats", "sha256": "0"}]}))  # fmt: skip
    assert "data holds none of the prompts in the manifest of out (hats)" in command(code=1)
    Path("out/genpi_manifest.json").unlink()
    assert "out holds no genpi_manifest.json" in command(code=1)
    assert "--adapter" in command(code=1)


def test_the_base_models_own_template_is_not_overwritten(place):
    before = (place / "tiny" / JINJA_FILE).read_bytes()
    assert "belongs to the base model" in command(output="tiny", code=1)
    assert "belongs to the base model" in command(output=f"tiny/{JINJA_FILE}", code=1)
    assert (place / "tiny" / JINJA_FILE).read_bytes() == before
    Path("file").write_text("")
    assert "file/new.jinja can't be written" in command(output="file/new.jinja", code=1)


def test_a_system_message_of_the_request_stands_against_any_system(place):
    kept = [{"role": "system", "content": "It is Monday."}]
    save_rows(place, [our_row(prompt=[SYSTEM], kept=kept)])
    assert "begins with a system message" in command("--any-system", code=1)
    command()
    new = Path("new.jinja").read_text("utf-8")
    ask = {"role": "user", "content": "socks"}
    expected = request(TEMPLATES["tools"], [*kept, ask])
    assert request(new, [SYSTEM, *kept, ask]) == expected


def test_a_request_that_would_lose_more_than_its_prompt_is_refused(place):
    """One prompt is the beginning of another, and a row's own turns are the rest of it."""
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Yes?"}]
    long = our_row(id="long", prompt_id="long", prompt=[SYSTEM, *turns])
    ask = {"role": "user", "content": "socks"}
    short = our_row(id="short", prompt_id="short", prompt=[SYSTEM], request=[*turns, ask])
    save_rows(place, [short, long])
    said = command(code=1)
    assert re.search("row 0: .* is not the student's: from character 17 on it is 'socks", said)
    assert not Path("new.jinja").exists()


def test_values_of_slots_are_said_in_the_form_of_the_rows(place):
    prompt = [{"role": "system", "content": "You sell to {{ name }}, {{ town }}, and obey."}]

    def row(number, name, town):
        return our_row(
            id=f"r{number}",
            prompt=prompt,
            tools=json.dumps(TOOLS),
            slots=json.dumps({"name": name, "town": town}),
            kept=[{"role": "system", "content": f"To {name} of {town}."}],
        )

    unclear = row(2, "Ada, Jr.", "Rome")
    save_rows(place, [row(0, "Ada", "Oslo"), row(1, "Bob", "Rome"), unclear])
    said = command()
    assert "Checked with 2 rows" in said
    assert "In 1 other rows the values of the slots can't be told" in said
    new = Path("new.jinja").read_text("utf-8")
    ask = {"role": "user", "content": "socks"}
    sent = [{"role": "system", "content": "You sell to Eve, Bonn, and obey."}, ask]
    expected = [{"role": "system", "content": "To Eve of Bonn."}, ask]
    assert request(new, sent, TOOLS) == request(TEMPLATES["tools"], expected)
    sent[0]["content"] = "You sell to Ada, Jr., Rome, and obey."
    assert request(new, sent, TOOLS) == request(TEMPLATES["tools"], sent, TOOLS)
    assert "In 1 other rows" in command("--any-tools")
    assert request(Path("new.jinja").read_text("utf-8"), sent, TOOLS) == request(
        TEMPLATES["tools"], sent
    )
    save_rows(place, [unclear])
    assert "in none of the 1 rows that were tried" in command(code=1)


def test_the_command_is_axolotls():
    own = entry_points(group="axolotl.cli_commands", name="genpi-template")
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'genpi-template = "genpi_plugin.serving.cli:main"' in text
    assert all(point.load() is main for point in own)
    shown = CliRunner().invoke(main, ["--help"]).output
    assert "axolotl genpi-template recipes/genpi_demo.yml -o chat_template.jinja" in shown
