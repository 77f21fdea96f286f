"""What the cloud is told: commands that run, handlers that fail or fall silent, and updates that were taken back."""

from dataclasses import replace

from arcgate.core.extension_goals import ExtensionState, Level
from arcgate.core.extension_lifecycle import Record, Stage
from arcgate.core.extension_report import HandlerWords, refused, report
from arcgate.core.handler_documents import HandlerState, HandlerStatus

ENABLED = Record("Contoso", "Backup", "1.0", Stage.ENABLED, 5, settled=5)


def said(state: HandlerState, message: str = "So it is.", code: str = "0") -> HandlerWords:
    return HandlerWords(HandlerStatus(state, code, message))


def test_a_handlers_states_become_the_clouds() -> None:
    found = {state: report("job", ENABLED, said(state)) for state in HandlerState}
    assert {state: (one.state, one.level) for state, one in found.items()} == {
        HandlerState.SUCCESS: (ExtensionState.SUCCEEDED, Level.INFORMATION),
        HandlerState.WARNING: (ExtensionState.SUCCEEDED, Level.WARNING),
        HandlerState.ERROR: (ExtensionState.FAILED, Level.ERROR),
        HandlerState.TRANSITIONING: (ExtensionState.UPDATING, Level.INFORMATION),
    }


def test_a_command_that_runs_is_told_with_the_version_that_is_there() -> None:
    first = report("job", replace(ENABLED, stage=Stage.INSTALLING, settled=0), HandlerWords())
    assert (first.state, first.version) == (ExtensionState.CREATING, "")
    update = report("job", replace(ENABLED, stage=Stage.UPDATING, coming="1.1"), HandlerWords())
    assert (update.state, update.version) == (ExtensionState.UPDATING, "1.0")
    assert "update of version 1.1" in update.message
    assert report("job", replace(ENABLED, stage=Stage.DISABLING), HandlerWords()).state is ExtensionState.DELETING


def test_what_failed_goes_before_what_the_old_version_says() -> None:
    record = replace(ENABLED, failure="It broke.", failed_version="1.1")
    one = report("job", record, said(HandlerState.SUCCESS))
    assert (one.state, one.level, one.code) == (ExtensionState.FAILED, Level.ERROR, "HandlerFailed")
    assert one.message == "It broke. Version 1.0 is in use again, in place of 1.1."


def test_a_silent_handler_is_a_warning_and_a_strange_one_an_error() -> None:
    silent = report("job", ENABLED, HandlerWords(is_alive=False, pulse="No heartbeat."))
    assert (silent.state, silent.level, silent.display_status) == (ExtensionState.SUCCEEDED, Level.WARNING, "Not ready")
    strange = report("job", ENABLED, HandlerWords(problem="its status can't be understood"))
    assert (strange.state, strange.code) == (ExtensionState.FAILED, "StatusInvalid")


def test_a_warning_is_added_to_success_alone() -> None:
    assert report("job", ENABLED, said(HandlerState.SUCCESS), "No limit.").level is Level.WARNING
    assert "No limit." not in report("job", ENABLED, said(HandlerState.ERROR), "No limit.").message


def test_a_refusal_has_its_code_and_bounds() -> None:
    one = refused("job", 7, None, "NotAllowed", "x" * 10_000)
    assert (one.settings_revision, one.version, one.code, len(one.message)) == (7, "", "NotAllowed", 4096)
