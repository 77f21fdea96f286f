"""The settings as a commented arcgate.toml and as docs/reference/configuration.md, both made from the model."""

from arcgate.cli.settings import Table, tables, to_toml

REFERENCE_HEAD = """# Configuration

*For admins who run Arcgate's server.* Made from the code by `make references`; don't edit it by hand.

The file is TOML: `--config FILE`, else `ARCGATE_CONFIG`, else `/etc/arcgate/arcgate.toml`; without any, every setting
has its default. An environment variable wins over the file. In variables, lists are separated by commas and tables
are written `NAME=VALUE,NAME=VALUE`. Unknown keys are errors. `arcgate config check` validates with file and line,
`arcgate config list` shows what is in force, `arcgate config example` prints a commented file.

All durations are in seconds.
"""


def render_example() -> str:
    """Return a complete arcgate.toml in which every setting is commented out at its default."""
    lines = ["# arcgate.toml: every setting with its default. Remove the # of those that you change.", ""]
    for table in tables():
        lines += _example_table(table)
    return "\n".join(lines)


def _example_table(table: Table) -> list[str]:
    lines = [f"# {table.description}", f"[{table.name}]"] if table.name else []
    for setting in table.settings:
        lines += [f"# {setting.description}", f"#{setting.path[-1]} = {to_toml(setting.default)}"]
    return [*lines, ""]


def render_reference() -> str:
    """Return docs/reference/configuration.md."""
    return "\n".join([REFERENCE_HEAD, *(line for table in tables() for line in _reference_table(table))])


def _reference_table(table: Table) -> list[str]:
    head = [f"## [{table.name}]", "", table.description] if table.name else ["## Top level"]
    rows = [
        f"| `{setting.path[-1]}` | {setting.kind} | `{to_toml(setting.default)}` | {setting.description} "
        f"| `{setting.variable}` |"
        for setting in table.settings
    ]
    return [*head, "", "| key | type | default | meaning | environment variable |", "|---|---|---|---|---|", *rows, ""]
