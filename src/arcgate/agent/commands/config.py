"""`azcmagent config`: show and change this machine's settings."""

import contextlib
from collections.abc import Iterator

import click

from arcgate.agent.commands.invocation import common_flags, invocation, needs_privileges
from arcgate.agent.errors import AzcmError
from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.proxy_credentials import store_credentials
from arcgate.agent.settings_table import PROPERTIES, parse_proxies, property_of
from arcgate.core.urls import redact


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in sorted(PROPERTIES) if name.startswith(incomplete)]


@click.group("config")
def command() -> None:
    """Show and change this machine's settings."""


@command.command("list")
@common_flags
def list_settings() -> None:
    """List all settings with their values."""
    own = invocation()
    stored = SettingsFile(own.paths).read()
    values = {one.name: stored.get(one.name, one.default) for one in PROPERTIES.values()}
    if own.console.is_json:
        shown = [{"Key": name, "value": _redacted(value)} for name, value in sorted(values.items())]
        own.console.document({"localsettings": shown})
        return
    own.console.line("Local Configuration Settings")
    width = max(len(name) for name in values)
    for name, value in sorted(values.items()):
        own.console.line(f"{name:<{width}} : {_text(name, value)}")


@command.command("get")
@click.argument("name", metavar="PROPERTY", shell_complete=_complete)
@common_flags
def get_setting(name: str) -> None:
    """Show the value of a setting."""
    own = invocation()
    value = SettingsFile(own.paths).get(name)
    if own.console.is_json:
        own.console.document({"Key": name, "value": _redacted(value)})
    own.console.line(_text(name, value))


@command.command("set")
@click.argument("name", metavar="PROPERTY", shell_complete=_complete)
@click.argument("value")
@click.option("-a", "--add", is_flag=True, help="Add the values to a list instead of replacing it.")
@click.option("-r", "--remove", is_flag=True, help="Remove the values from a list.")
@common_flags
@needs_privileges
def set_setting(name: str, value: str, add: bool, remove: bool) -> None:
    """Set a setting. Lists are separated by commas. Running services take the new value by themselves."""
    own = invocation()
    value = own.hidden.get(name, value)
    if add and remove:
        raise AzcmError(27, "--add and --remove exclude each other.", remedy="Leave one of them out.")
    settings = SettingsFile(own.paths)
    change = settings.add if add else settings.remove if remove else settings.set
    with _writing():
        if name == "proxy.url" and not add and not remove:
            value = _put_credentials_away(value)
        changed = change(name, value)
    _report("set to", name, changed)


@command.command("clear")
@click.argument("name", metavar="PROPERTY", shell_complete=_complete)
@common_flags
@needs_privileges
def clear_setting(name: str) -> None:
    """Set a setting back to its default."""
    with _writing():
        default = SettingsFile(invocation().paths).clear(name)
    _report("cleared, now", name, default)


@command.command("info")
@click.argument("name", metavar="[PROPERTY]", default="", shell_complete=_complete)
@common_flags
def explain_settings(name: str) -> None:
    """Explain the settings."""
    own = invocation()
    chosen = [property_of(name)] if name else sorted(PROPERTIES.values(), key=lambda one: one.name)
    if own.console.is_json:
        document = [
            {
                "Key": one.name,
                "kind": str(one.kind),
                "default": one.default,
                "allowed": list(one.allowed),
                "description": one.help,
                "hasEffect": one.has_effect,
            }
            for one in chosen
        ]
        own.console.document({"localsettings": document})
        return
    for one in chosen:
        own.console.line(one.name)
        own.console.line(f"    {one.help}")
        own.console.line(f"    Values: {one.values}. Default: {one.show(one.default) or '(empty)'}.")
        if not one.has_effect:
            own.console.line("    Kept for scripts that set it: nothing acts on it yet.")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AzcmError(
            69, "The setting could not be stored.", cause=str(error), remedy="Check the space and the rights there."
        ) from None


def _put_credentials_away(value: str) -> str:
    """Return the proxies' URLs without users and passwords, which go to a file for the agent's services alone."""
    property_of("proxy.url").parse(value)
    proxies = parse_proxies(value) if value else ()
    if not any(proxy.user or proxy.password for proxy in proxies):
        return value
    paths = invocation().paths
    paths.prepare()
    store_credentials(paths.proxy_credentials, proxies)
    invocation().console.line(f"User and password are kept in {paths.proxy_credentials}.")
    return ",".join(proxy.origin for proxy in proxies)


def _report(what: str, name: str, value: object) -> None:
    console = invocation().console
    if console.is_json:
        console.document({"Key": name, "value": _redacted(value)})
    console.line(f"Config property {name} {what} {_text(name, value) or '(empty)'}")
    console.line("The agent's services follow this change by themselves.")


def _text(name: str, value: object) -> str:
    return redact(property_of(name).show(value))


def _redacted(value: object) -> object:
    return redact(value) if isinstance(value, str) else value
