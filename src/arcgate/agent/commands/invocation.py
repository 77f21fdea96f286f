"""One run of `azcmagent`: the common flags, the agent's files, and values from --config and hidden arguments."""

import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import yaml

from arcgate.agent.cloud import Cloud, load_cloud
from arcgate.agent.commands.console import Console
from arcgate.agent.errors import AzcmError
from arcgate.agent.log_file import LogFile
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import Platform, current
from arcgate.agent.state import read_identity
from arcgate.net.logs import configure_logging

LARGEST_FILE = 1024 * 1024
"""Bytes of a file that --config names."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(slots=True)
class Invocation:
    """What every command gets."""

    paths: AgentPaths
    environment: Mapping[str, str]
    hidden: Mapping[str, str] = field(default_factory=dict)
    """Secrets by long flag or property that were arguments once."""
    console: Console = field(default_factory=Console)
    platform: Platform = field(default_factory=current)
    log: LogFile | None = None

    def log_verbosely(self) -> None:
        """Log everything, also on standard error."""
        if self.log is not None:
            self.log.echo = self.console.errors
            configure_logging("debug", file=self.log.as_text())

    def require_privileges(self) -> None:
        """Raise AzcmError 18 unless we are root; a moved AZCMAGENT_HOME is the caller's own."""
        if not self.paths.is_moved and not self.platform.is_privileged():
            raise AzcmError(
                18, "This command needs administrator rights.", remedy="Run it with sudo, or as administrator."
            )

    def prepare(self) -> None:
        """Make the agent's folders; raises AzcmError 6."""
        try:
            self.paths.prepare(self.platform)
        except OSError as error:
            raise AzcmError(
                6,
                f"The agent's folders below {self.paths.home} can't be made.",
                cause=str(error),
                remedy="Check the place that it names, and its rights.",
            ) from None

    def cloud(self, name: str = "") -> Cloud:
        """Return the cloud of that name, or of this machine; raises AzcmError 75."""
        if name:
            return load_cloud(self.paths, name)
        identity = read_identity(self.paths)
        return load_cloud(self.paths, identity.cloud if identity else "")


def invocation() -> Invocation:
    """Return the running command's invocation."""
    found = click.get_current_context().find_object(Invocation)
    assert found is not None
    return found


def output_flags(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Add the flags about what is printed."""
    for option in (
        click.option(
            "-v", "--verbose", is_flag=True, expose_value=False, callback=_note, help="Show detailed logging."
        ),
        click.option("--no-color", is_flag=True, expose_value=False, callback=_note, help="Print without colours."),
        click.option(
            "--log-stderr",
            is_flag=True,
            expose_value=False,
            callback=_note,
            help="Write errors and verbose messages to standard error.",
        ),
        click.option("-j", "--json", is_flag=True, expose_value=False, callback=_note, help="Print JSON."),
    ):
        command = option(command)
    return command


def common_flags(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Add the flags that every command has."""
    from_file = click.option(
        "--config",
        metavar="FILE",
        expose_value=False,
        is_eager=True,
        callback=_read_file,
        help="JSON or YAML file with values of flags, named as the long flags; the command line goes before it.",
    )
    return from_file(output_flags(command))


def needs_privileges(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Refuse a command to ordinary users."""

    @functools.wraps(command)
    def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        invocation().require_privileges()
        return command(*args, **kwargs)

    return checked


def _note(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    console = invocation_of(context).console
    if value:
        match parameter.name:
            case "json":
                console.is_json = True
            case "log_stderr":
                console.log_to_stderr = True
            case "verbose":
                invocation_of(context).log_verbosely()
    return value


def invocation_of(context: click.Context) -> Invocation:
    """Return a context's invocation."""
    found = context.find_object(Invocation)
    assert found is not None
    return found


def _read_file(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    flags = {
        option.lstrip("-"): one for one in context.command.params for option in one.opts if option.startswith("--")
    }
    defaults: dict[str, Any] = {}
    for name, setting in _load(Path(value)).items():
        if name not in flags or name == "config" or flags[name].name is None:
            raise AzcmError(
                23, f"{value} holds {name[:100]!r}, which is no flag of this command.", remedy="Remove or correct it."
            )
        defaults[str(flags[name].name)] = setting if isinstance(setting, bool) else str(setting)
    context.default_map = {**(context.default_map or {}), **defaults}


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        document = _parse(data) if len(data) <= LARGEST_FILE else None
    except OSError as error:
        raise AzcmError(19, f"The file {path} can't be read.", cause=error.strerror or "") from None
    except (ValueError, RecursionError, yaml.YAMLError):
        document = None
    if not isinstance(document, dict) or not all(isinstance(value, str | bool | int) for value in document.values()):
        raise AzcmError(
            19,
            f"{path} can't be used.",
            cause="it must be one JSON object, or one YAML mapping, of flags and texts",
            remedy="Correct it.",
        )
    return document


def _parse(data: bytes) -> Any:
    if data.lstrip().startswith(b"{"):
        return json.loads(data)
    # Every scalar stays the text that was written: YAML would make a truth value of the location "no", and a number
    # of the name 0123. This loader makes texts, lists and mappings only.
    return yaml.load(data, Loader=yaml.BaseLoader)  # noqa: S506 - safer than the safe one


def make_invocation(hidden: Mapping[str, str]) -> Invocation:
    """Return the invocation of this process."""
    return Invocation(AgentPaths.from_environment(), dict(os.environ), hidden)
