"""How a command fails: one line `ERROR: (Code) sentence`, the cause, what to do, and an exit code."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from arcgate.cli.configuration import ConfigurationErrors
from arcgate.core.audit import printable
from arcgate.core.errors import ArcgateError, InputError, StateError

TRACE_VARIABLE = "ARCGATE_TRACE"

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_INTERRUPTED = 130


class ApiFailure(ArcgateError):
    """The control plane refused a request; code and message are its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status


class LoginNeeded(InputError):
    """There is no usable token."""

    def __init__(self, cause: str = "") -> None:
        super().__init__(
            "LoginNeeded", "You are not logged in.", cause=cause, remedy="Log in: arcgate login --endpoint URL"
        )


def describe(error: ArcgateError) -> list[str]:
    """Return the lines that tell a person of an error; several configuration errors are a line each."""
    if isinstance(error, ConfigurationErrors):
        return [line for one in error.errors for line in describe(one)]
    cause = f" Cause: {error.cause}." if error.cause else ""
    remedy = f" {error.remedy}" if error.remedy else ""
    return ["ERROR: " + printable(" ".join(f"({error.code}) {error.sentence}{cause}{remedy}".split()), 4000)]


def exit_code(error: ArcgateError) -> int:
    """Return the exit code for an error."""
    return EXIT_NOT_FOUND if isinstance(error, ApiFailure) and error.status == 404 else EXIT_FAILED


def run_command(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; whatever goes wrong is told without a trace."""
    try:
        outcome: Any = command.main(arguments, prog_name="arcgate", standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else 0
    except ArcgateError as error:
        return _report(describe(error), exit_code(error))
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _report(["Interrupted."], EXIT_INTERRUPTED)
    except click.ClickException as error:
        return _report_usage(error)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, and nothing to complain about.
        sys.stdout = None
        return EXIT_FAILED
    except OSError as error:
        failure = StateError("SYSTEM_ERROR", f"{error.strerror or error}: {error.filename or 'the output'}.")
        return _report(describe(failure), EXIT_FAILED)

    except Exception as error:
        if os.environ.get(TRACE_VARIABLE):
            raise
        # A defect of ours: people get a sentence, and a way to the trace.
        failure = StateError(
            "DEFECT",
            f"This is a defect of Arcgate: {type(error).__name__}: {error}.",
            remedy=f"Report it, with what the same command prints when {TRACE_VARIABLE}=1 is set.",
        )
        return _report(describe(failure), EXIT_FAILED)


def _report(lines: Sequence[str], code: int) -> int:
    for line in lines:
        click.echo(line, err=True)
    return code


def _report_usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return EXIT_USAGE
    context = getattr(error, "ctx", None)
    if isinstance(context, click.Context):
        click.echo(context.get_usage(), err=True)
    return _report([f"ERROR: {printable(error.format_message(), 2000)}"], EXIT_USAGE)
