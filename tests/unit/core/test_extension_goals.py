"""Extension goals and statuses: read strictly, since their names become folders and their texts reach operators."""

from typing import Any

import pytest

from arcgate.core.extension_goals import (
    LONGEST_MESSAGE,
    ExtensionGoal,
    ExtensionState,
    ExtensionStatus,
    Level,
    is_extension_name,
)

GOAL = ExtensionGoal("AMA", "Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent", "1.10", 7, False, True, "again")
STATUS = ExtensionStatus(
    "AMA", 7, ExtensionState.FAILED, "1.9", "5", Level.ERROR, "Failed", "No space.", "2026-05-04T12:00:00Z"
)


def test_goals_and_statuses_survive_their_form() -> None:
    assert ExtensionGoal.from_json(GOAL.to_json()) == GOAL
    assert ExtensionStatus.from_json(STATUS.to_json()) == STATUS
    assert GOAL.is_readable


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "end.", "a" * 91, "a\n", "ä", "a b", "a\0"])
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    assert not is_extension_name(name)
    with pytest.raises(ValueError):
        ExtensionGoal.from_json({**GOAL.to_json(), "name": name})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("publisher", ".x"),
        ("type", "a/b"),
        ("typeHandlerVersion", "1.x"),
        ("settingsRevision", True),
        ("settingsRevision", -1),
        ("settingsRevision", 2**53),
        ("autoUpgradeMinorVersion", "false"),
        ("forceUpdateTag", "x" * 201),
    ],
)
def test_a_goal_with_a_wrong_field_is_refused_and_not_guessed(key: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ExtensionGoal.from_json({**GOAL.to_json(), key: value})


def test_an_unknown_state_or_level_is_refused() -> None:
    with pytest.raises(ValueError):
        ExtensionStatus.from_json({**STATUS.to_json(), "provisioningState": "Fine"})
    with pytest.raises(TypeError):
        ExtensionStatus.from_json({**STATUS.to_json(), "status": []})


def test_a_long_message_is_cut() -> None:
    document = STATUS.to_json()
    document["status"]["message"] = "x" * (LONGEST_MESSAGE + 1)
    assert len(ExtensionStatus.from_json(document).message) == LONGEST_MESSAGE
