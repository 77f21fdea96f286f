"""The documents: a page names its reader, links lead somewhere, commands exist with the flags that they show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from arcgate.agent.commands.cli import group as azcmagent
from arcgate.agent.settings_table import PROPERTIES
from arcgate.cli.main import arcgate
from arcgate.cli.settings import all_settings

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "deploy")
    for page in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
)
DECISIONS = "docs/adr/"

_BLOCK = re.compile(r"^```sh\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(?P<code>(?:arcgate|azcmagent) [^`]+)`")
_LINK = re.compile(r"\]\((?P<place>[^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith(DECISIONS) and page != "README.md"])
def test_a_page_names_its_reader(page: str) -> None:
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert lines[2].startswith("*For ")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_exist(page: str) -> None:
    places = _LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    local = [place for place in places if "://" not in place]
    assert [place for place in local if not ((ROOT / page).parent / place).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist_with_the_flags_that_are_shown(page: str) -> None:
    assert [problem for line in _commands(page) for problem in _problems(line)] == []


def test_commands_are_found_in_the_documents_at_all() -> None:
    assert sum(1 for page in PAGES for _ in _commands(page)) > 50


@pytest.mark.parametrize("page", PAGES)
def test_tables_of_settings_hold_settings(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    known = {setting.key for setting in all_settings()} | set(PROPERTIES)
    tables = {key.partition(".")[0] for key in known if "." in key}
    named = re.findall(r"`([a-z]+\.[a-z_.]+)`", text)
    files = ("md", "py", "pem", "json", "toml", "log", "key", "sh", "example")
    shown = [one for one in named if one.partition(".")[0] in tables and one.rpartition(".")[2] not in files]
    assert [one for one in shown if one not in known] == []


def _commands(page: str) -> Iterator[list[str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for code in _BLOCK.findall(text) for line in code.replace("\\\n", " ").splitlines()]
    for line in [*lines, *_INLINE.findall(text)]:
        for part in re.split(r"&&|\||;|\$\(", line):
            words = _words(part)
            if words and words[0] in ("arcgate", "azcmagent"):
                yield words


def _words(part: str) -> list[str]:
    try:
        words = shlex.split(part, comments=True)
    except ValueError:
        return []
    while words and (words[0] == "sudo" or "=" in words[0]):
        words = words[1:]
    return words


def _problems(words: list[str]) -> Iterator[str]:
    command: click.Command = arcgate if words[0] == "arcgate" else azcmagent
    rest = words[1:]
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z-]+", rest[0]) and rest[0][0] != "-":
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            yield f"{' '.join(words)}: there is no {rest[0]}"
            return
        command, rest = found, rest[1:]
    flags = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)} | {
        "--help",
        "-h",
        "--version",
    }
    for word in rest:
        if word.startswith("--") and word.partition("=")[0] not in flags:
            yield f"{' '.join(words)}: there is no flag {word}"
