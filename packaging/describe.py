"""Writes manual pages and shell completions of `azcmagent` below a folder: describe.py FOLDER TIME (seconds)."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from click.shell_completion import get_completion_class
from click_man.core import generate_man_page

from arcgate import __version__
from arcgate.agent.commands.cli import group

COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/azcmagent",
    "zsh": "usr/share/zsh/vendor-completions/_azcmagent",
    "fish": "usr/share/fish/vendor_completions.d/azcmagent.fish",
}
"""Where each shell's packages put the completions of programs."""


def main(folder: Path, time: int) -> None:
    """Write all pages and completions."""
    date = datetime.fromtimestamp(time, UTC).date().isoformat()
    context = click.Context(group, info_name="azcmagent")
    _write(folder / "usr/share/man/man1/azcmagent.1", generate_man_page(context, __version__, date))
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        page = generate_man_page(click.Context(command, parent=context, info_name=name), __version__, date)
        _write(folder / f"usr/share/man/man1/azcmagent-{name}.1", page)
    for shell, place in COMPLETIONS.items():
        kind = get_completion_class(shell)
        assert kind is not None
        _write(folder / place, kind(group, {}, "azcmagent", "_AZCMAGENT_COMPLETE").source())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
