"""The documentation says what the program does: help texts, links, commands, options."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sta_mpi.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
COMMAND_PAGES = sorted((DOCS / "commands").glob("*.md"))
COMMANDS = cli.list_commands(click.Context(cli))

LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)|<img[^>]*src=\"([^\"]+)\"")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SAMPLE = re.compile(
    r"(?:\$ )?(?:\w+=\S+ )*(?:mpirun -n \d+ |srun )?(?:python -m sta_mpi|sta-mpi) (.*)")


def relative_name(path):
    return str(path.relative_to(ROOT))


def plain_text(path):
    """A page without its fenced blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def links(path):
    """Targets of relative links of a page, without anchors."""
    found = [one or other for one, other in LINK.findall(plain_text(path))]
    return [target.partition("#")[0] for target in found
            if not re.match(r"[a-z]+:", target) and not target.startswith("#")]


def samples():
    """(page, words after sta-mpi) of every command line in a fenced block."""
    found = []
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                match = SAMPLE.fullmatch(line.strip())
                if match and match[1].split()[0] not in {"COMMAND", "--version", "--help"}:
                    found.append((relative_name(page), match[1]))
    return found


def table_of_commands():
    """Command name -> status, from the table of the README."""
    rows = {}
    for line in README.read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"\| (?:\[)?`([a-z-]+)`(?:\]\([^)]*\))? \|.*\| (works|planned) \|",
                             line)
        if match:
            rows[match[1]] = match[2]
    return rows


@pytest.fixture(scope="module")
def updater():
    """The module scripts/update_docs_help.py."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import update_docs_help
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return update_docs_help


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=lambda page: page.stem)
def test_page_holds_the_help_of_its_command(updater, page):
    text = page.read_text(encoding="utf-8")
    assert updater.with_help(text, page.stem) == text, "run python scripts/update_docs_help.py"


def test_help_in_the_pages_is_what_a_terminal_of_100_columns_shows(updater):
    code = "import sys; sys.argv[0] = 'sta-mpi'; from sta_mpi.__main__ import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", code, "fsc", "--help"], capture_output=True, text=True, check=True,
        timeout=60, env={**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT)}).stdout
    assert updater.help_text("fsc").split("\n") == [
        line.rstrip() for line in shown.rstrip().splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=relative_name)
def test_relative_links_of_a_page_lead_somewhere(page):
    dead = [target for target in links(page) if not (page.parent / target).exists()]
    assert dead == []


def test_readme_marks_as_working_the_commands_that_exist_and_no_others():
    table = table_of_commands()
    assert "planned" in table.values()
    assert sorted(name for name, status in table.items() if status == "works") == COMMANDS


def test_readme_table_links_to_the_page_of_every_working_command():
    targets = set(links(README))
    assert {f"docs/commands/{name}.md" for name in COMMANDS} <= targets


def test_documentation_shows_command_lines():
    assert len(samples()) > 15


@pytest.mark.parametrize(("page", "line"), samples())
def test_command_line_in_the_documentation_is_accepted(page, line):
    """Options exist, have values of their type, and make valid parameters."""
    words = shlex.split(line, comments=True)
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None, f"{page} shows sta-mpi {words[0]}, which is no command"
    context = command.make_context(words[0], words[1:])
    given = {name: value for name, value in context.params.items()
             if value is not None and value != () and name != "toml"}
    if hasattr(command, "model") and context.params.get("toml") is None:
        command.model(**given)


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=lambda page: page.stem)
def test_options_named_on_a_command_page_exist(page):
    known = {declaration for name in COMMANDS
             for option in cli.get_command(click.Context(cli), name).params
             for declaration in (*option.opts, *option.secondary_opts)}
    named = set(re.findall(r"`(--[A-Za-z][\w-]*)", plain_text(page)))
    assert named - known - {"--help"} == set()


@pytest.mark.parametrize("page", PAGES, ids=relative_name)
def test_files_named_on_a_page_exist(page):
    """Files in backticks with a folder: from the root, from sta_mpi/, or beside the page."""
    named = re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|sh|md|sbatch))`", plain_text(page))
    starts = (ROOT, ROOT / "sta_mpi", page.parent)
    missing = [name for name in named if not any((start / name).exists() for start in starts)]
    assert missing == []
