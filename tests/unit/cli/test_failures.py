import click
import pytest

from arcgate.cli.configuration import ConfigurationErrors
from arcgate.cli.failures import ApiFailure, LoginNeeded, describe, exit_code, run_command
from arcgate.core.errors import ConfigurationError, InputError, Place


def command_that_raises(error: BaseException) -> click.Command:
    def action() -> None:
        raise error

    return click.Command("x", callback=action)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("CODE", "A sentence."), 1),
        (ApiFailure(404, "ResourceNotFound", "Not there."), 3),
        (ApiFailure(409, "Conflict", "No."), 1),
        (LoginNeeded(), 1),
        (click.UsageError("wrong"), 2),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (BrokenPipeError(), 1),
        (OSError(28, "No space left on device", "/x"), 1),
    ],
)
def test_every_failure_has_its_exit_code_and_no_trace(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys, "stdout", sys.stdout)  # a broken pipe takes it away
    assert run_command(command_that_raises(error), []) == code
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_is_one_line_whatever_the_server_said() -> None:
    [line] = describe(ApiFailure(400, "Bad\x1b", "first\nsecond\x1b[2J"))
    assert line == "ERROR: (Bad\\x1b) first second\\x1b[2J"


def test_cause_and_remedy_are_told() -> None:
    [line] = describe(InputError("CODE", "It failed.", cause="the reason", remedy="Do this."))
    assert line == "ERROR: (CODE) It failed. Cause: the reason. Do this."


def test_several_configuration_errors_are_a_line_each() -> None:
    errors = [ConfigurationError(Place("file", line), f"mistake {line}.") for line in (1, 2)]
    assert len(describe(ConfigurationErrors(errors))) == 2


def test_only_a_404_of_the_api_is_not_found() -> None:
    assert exit_code(InputError("x", "y")) == 1
