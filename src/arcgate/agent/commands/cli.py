"""The group of commands, and how each of their errors leaves the process."""

import contextlib
import importlib
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

import click
import structlog

from arcgate import __version__
from arcgate.agent.commands.invocation import Invocation, make_invocation, output_flags
from arcgate.agent.errors import AzcmError, as_azcm
from arcgate.agent.log_file import LogFile
from arcgate.core.errors import ArcgateError
from arcgate.net.logs import configure_logging
from arcgate.net.standard_streams import give_up_output

_log = structlog.get_logger(__name__)

COMMANDS = {
    "check": "Check the network: every endpoint that the agent needs.",
    "completion": "Print a shell's completion of this command.",
    "config": "Show and change this machine's settings.",
    "connect": "Connect this machine to the cloud.",
    "disconnect": "Disconnect this machine from the cloud.",
    "extension": "Show and remove this machine's extensions.",
    "genkey": "Make this machine's key ahead of connecting.",
    "help": "Help about a command.",
    "license": "Show the agent's licence.",
    "logs": "Collect logs in a zip file.",
    "route": "Explain the way that a request takes.",
    "run": "Run the agent's services in the foreground, as containers need it.",
    "show": "Show this machine's identity and the agent's status.",
    "upgrade": "Install the newest agent that the cloud offers.",
    "version": "Show the agent's version.",
}
"""Names with their help; each command's module is loaded when it is needed."""

_ASKS_FOR_JSON = re.compile(r"--json|-[jv]*j[jv]*")


class Commands(click.Group):
    """Loads the commands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"arcgate.agent.commands.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click; without loading every command."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="azcmagent", message="%(prog)s version %(version)s")
@output_flags
def group() -> None:
    """Connect this machine to the cloud, and show and change how it is connected."""


def run(arguments: list[str], hidden: Mapping[str, str]) -> int:
    """Run a command and return the exit code: 0, or nnnn of AZCMnnnn."""
    own = make_invocation(hidden)
    own.log = log = LogFile(own.paths.azcmagent_log)
    configure_logging("info", file=log.as_text())
    try:
        return _exit_code(own, arguments)
    except BrokenPipeError:
        give_up_output()  # whoever read it has gone
        return 1
    finally:
        log.close()


def _exit_code(own: Invocation, arguments: list[str]) -> int:
    try:
        result = group.main(arguments, prog_name="azcmagent", standalone_mode=False, obj=own)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return 0
    except BrokenPipeError:
        raise
    except BaseException as error:
        # What could not be read as flags has not reached the console yet.
        own.console.is_json = own.console.is_json or asks_for_json(arguments)
        return _failed(own, _as_failure(own, error))


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Say whether one of a command's words is the flag for JSON; pure."""
    return any(_ASKS_FOR_JSON.fullmatch(one) for one in takewhile(lambda one: one != "--", arguments))


def _as_failure(own: Invocation, error: BaseException) -> AzcmError:
    """Return what a command raised as the error that is told; raises it again when it is no failure."""
    match error:
        case click.Abort() | KeyboardInterrupt():
            return AzcmError(11, "The command was cancelled.")
        case click.ClickException():
            return _usage_error(error)
        case ArcgateError():
            return as_azcm(error)
        case OSError():
            remedy = "Check the space and the rights there."
            return AzcmError(2, "The agent can't use its files.", cause=str(error), remedy=remedy)
        case Exception():  # a defect of ours: the trace goes to the log, a sentence to the person
            _log.error("the command failed", exc_info=error)
            cause, remedy = f"{type(error).__name__}: {error}", f"Look into {own.paths.azcmagent_log}."
            return AzcmError(2, "The agent failed.", cause=cause, remedy=remedy)
    raise error


def _usage_error(error: click.ClickException) -> AzcmError:
    number = 16 if isinstance(error, click.MissingParameter) else 23
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "azcmagent"
    return AzcmError(number, error.format_message(), remedy=f"'{where} --help' shows what is possible.")


def _failed(own: Invocation, error: AzcmError) -> int:
    _log.error("the command ended with an error", code=error.code, cause=error.one_line())
    try:
        own.console.error(error)
    except BrokenPipeError:
        raise
    except OSError:  # a full disk behind standard output, for one
        give_up_output()
        with contextlib.suppress(OSError):
            own.console.error_beside(error)
    return error.exit_code
