"""Reference pages of commands, made from the commands themselves."""

from collections.abc import Collection, Iterator

import click

from arcgate.agent.commands.cli import group as azcmagent
from arcgate.agent.errors import TITLES

GENERATED = "Made from the code by `make references`; don't edit it by hand."

ARCGATE_HEAD = f"""# The command `arcgate`

*For operators.* {GENERATED}

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 130 interrupted. An error is one line on standard error:
`ERROR: (Code) sentence` with what to do. Lists are tables on a terminal and JSON in a pipe; `-o` chooses the form.
The login is kept in `~/.arcgate` (`ARCGATE_CONFIG_DIR` moves it), for its user alone. `HTTPS_PROXY` and `NO_PROXY`
are honoured.
"""

AZCMAGENT_HEAD = f"""# The command `azcmagent`

*For admins of machines.* {GENERATED}

Commands that change something need root. `AZCMAGENT_HOME` and `AZCMAGENT_CLOUDS` move the agent's files, and then the
caller's own rights are enough. Every command takes these flags too:
"""

EXIT_CODES = """## Exit codes

0 is success. A failure prints `Exit Code: AZCMnnnn: Title`, the error, its cause and a remedy, and exits with nnnn:

| code | title |
|---|---|"""


def render_arcgate(root: click.Group) -> str:
    """Return the page of the operator's command."""
    return "\n".join([ARCGATE_HEAD, *(line for one in walk(root, "arcgate") for line in _section(*one))])


def render_azcmagent() -> str:
    """Return the page of the machine's command."""
    commands = list(walk(azcmagent, "azcmagent"))
    shared = _shared_flags([command for _, command in commands])
    known = {option.name or "" for option in shared}
    sections = [line for path, command in commands for line in _section(path, command, known)]
    codes = [f"| {number} | {title} |" for number, title in TITLES.items()]
    return "\n".join([AZCMAGENT_HEAD, *_table(shared), *sections, EXIT_CODES, *codes, ""])


def walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that isn't hidden, with its whole name, in alphabetical order."""
    context = click.Context(group)
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _shared_flags(commands: list[click.Command]) -> list[click.Option]:
    """Return the options that every one of the commands has."""
    everywhere = set.intersection(*({one.name for one in command.params} for command in commands))
    return [one for one in commands[0].params if isinstance(one, click.Option) and one.name in everywhere]


def _section(path: str, command: click.Command, without: Collection[str] = ()) -> list[str]:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    usage = " ".join([path, *(one.metavar or (one.name or "").upper() for one in arguments)])
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    shown = [one for one in options if one.name not in without]
    return [f"## {usage}", "", _paragraphs(command.help or ""), "", *_table(shown)]


def _table(options: list[click.Option]) -> list[str]:
    rows = [_row(option) for option in options]
    return ["| option | meaning |", "|---|---|", *rows, ""] if rows else []


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.replace("\b", "").split("\n\n"))


def _row(option: click.Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {_value(option)}"
    required = " **Required.**" if option.required else ""
    return f"| {flags}{value} | {(option.help or '').replace('|', chr(92) + '|')}{required} |"


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return " or ".join(f"`{choice}`" for choice in option.type.choices)
    if isinstance(option.type, click.IntRange):
        return "*NUMBER*"
    return f"*{option.metavar or option.type.name.upper()}*"
