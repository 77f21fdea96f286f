"""docs/reference/arcgate.md: every command with its options, made from the commands themselves."""

from collections.abc import Iterator

import click

HEAD = """# The command `arcgate`

*For operators.* Made from the commands by `arcgate command-reference`; don't edit it by hand.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 130 interrupted. An error is one line on standard error:
`ERROR: (Code) sentence` with what to do. Lists are tables on a terminal and JSON in a pipe; `-o` chooses the form.
The login is kept in `~/.arcgate` (`ARCGATE_CONFIG_DIR` moves it), for its user alone. `HTTPS_PROXY` and `NO_PROXY`
are honoured.
"""


def render_commands(root: click.Group) -> str:
    """Return the page."""
    return "\n".join([HEAD, *(line for path, command in walk(root, "arcgate") for line in _section(path, command))])


def walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that isn't hidden, with its whole name, in alphabetical order."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _section(path: str, command: click.Command) -> list[str]:
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    usage = " ".join([path, *((one.name or "").upper() for one in arguments)])
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    rows = [_row(option) for option in options]
    table = ["| option | meaning |", "|---|---|", *rows, ""] if rows else []
    return [f"## {usage}", "", _paragraphs(command.help or ""), "", *table]


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
