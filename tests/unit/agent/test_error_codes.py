"""Every documented code of `azcmagent`: the test that provokes it, or why nothing can."""

import ast
from pathlib import Path

import pytest

from arcgate.agent.errors import TITLES

TESTS = Path(__file__).parents[2]

_CLI = "unit/agent/commands/test_cli.py"
_CONNECT = "integration/agent/test_connect.py"

PROVOKED: dict[int, tuple[str, str]] = {
    1: ("integration/agent/test_processes.py", "test_output_that_nobody_reads_is_no_trace"),
    2: (_CLI, "test_a_defect_of_ours_is_one_sentence_and_its_trace_is_in_the_log"),
    3: ("unit/agent/upgrade/test_upgrade.py", "test_an_agent_from_elsewhere_is_azcm0003"),
    4: (
        "integration/agent/check/test_check.py",
        "test_arc_proxy_that_is_not_running_is_said_although_all_can_be_reached",
    ),
    6: (_CLI, "test_folders_that_cannot_be_made_are_azcm0006"),
    11: (_CONNECT, "test_cancelling_at_any_step_leaves_nothing_behind"),
    12: ("integration/agent/test_login.py", "test_a_token_with_odd_characters_is_azcm0012_and_not_shown"),
    16: (_CLI, "test_a_missing_argument_is_azcm0016"),
    18: (_CLI, "test_changes_need_privileges_outside_a_home_of_ones_own"),
    19: (_CLI, "test_a_malformed_file_is_azcm0019"),
    20: (_CONNECT, "test_an_unknown_location_is_azcm0020"),
    23: (_CLI, "test_what_does_not_exist_is_azcm0023"),
    26: (_CONNECT, "test_an_unreachable_cloud_is_azcm0026_naming_the_hop"),
    27: (_CLI, "test_add_and_remove_together_are_azcm0027"),
    28: (_CLI, "test_a_key_in_a_tpm_is_azcm0028"),
    41: (_CONNECT, "test_a_wrong_secret_is_azcm0041"),
    42: (_CONNECT, "test_a_missing_resource_group_that_may_not_be_created_is_named"),
    43: (_CONNECT, "test_a_refused_deletion_is_azcm0043_and_changes_nothing_here"),
    44: (_CONNECT, "test_a_name_of_another_machine_is_azcm0044_and_leaves_nothing"),
    62: (_CLI, "test_a_second_connect_at_the_same_time_is_azcm0062"),
    63: (_CLI, "test_what_disconnect_cannot_remove_is_azcm0063"),
    67: (_CONNECT, "test_connecting_again_as_something_else_is_azcm0067"),
    68: (_CONNECT, "test_an_unknown_subscription_name_is_azcm0068"),
    69: (_CLI, "test_a_setting_that_cannot_be_stored_is_azcm0069"),
    70: (_CLI, "test_both_settings_files_damaged_is_azcm0070_with_the_file"),
    72: ("unit/agent/commands/test_extension.py", "test_a_state_that_cannot_be_written_is_azcm0072"),
    75: (_CLI, "test_the_secret_comes_from_the_environment_or_a_file"),
    81: ("unit/agent/test_agent_service.py", "test_an_answer_without_a_certificate_is_azcm0081"),
    101: ("unit/agent/test_log_archive.py", "test_a_place_that_cannot_be_written_is_azcm0101"),
    102: ("unit/agent/test_connect_request.py", "test_other_names_are_azcm0102"),
    103: (_CLI, "test_a_key_that_cannot_be_written_is_azcm0103"),
    104: ("unit/agent/test_machine_key.py", "test_a_damaged_key_is_azcm0104_without_its_content"),
    107: ("unit/agent/test_machine_key.py", "test_a_missing_certificate_is_none_and_a_damaged_one_is_azcm0107"),
}
"""File below tests/ and name of a test that ends with the code."""

BY_FILES = "the command and the services share files and locks; there is no connection between them that could fail"
NO_TPM = "keys are files; the flag that asks for a TPM is refused by AZCM0028"

NOT_PROVOKED: dict[int, str] = {
    5: "a log that can't be written loses lines, and never stops a command",
    45: "a resource with another key is never taken over: AZCM0044 says so before anything is sent",
    61: BY_FILES,
    64: BY_FILES,
    65: BY_FILES,
    66: BY_FILES,
    73: "there is no partner configuration",
    74: "the command adds no extensions: the cloud does",
    76: NO_TPM,
    82: NO_TPM,
    83: "credentials are used once and never registered",
    105: "a key that loads can sign",
    106: "no parameters are saved",
    108: NO_TPM,
}
"""Why nothing ends with the code; it is kept for scripts that know it."""


def test_every_documented_code_is_provoked_or_said_to_be_impossible() -> None:
    assert not set(PROVOKED) & set(NOT_PROVOKED)
    assert set(PROVOKED) | set(NOT_PROVOKED) == set(TITLES)


@pytest.mark.parametrize("number", sorted(PROVOKED))
def test_the_test_that_provokes_a_code_is_there_and_speaks_of_it(number: int) -> None:
    place, name = PROVOKED[number]
    found = [one for one in ast.walk(_parse(place)) if _is_test(one, name)]
    assert len(found) == 1
    assert number in {one.value for one in ast.walk(found[0]) if isinstance(one, ast.Constant)}


@pytest.mark.parametrize("number", sorted(NOT_PROVOKED))
def test_no_code_that_is_said_to_be_impossible_is_raised_anywhere(number: int) -> None:
    raised = {
        argument.value
        for path in (TESTS.parent / "src/arcgate/agent").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in {"AzcmError", "as_azcm"}
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    assert number not in raised


def _parse(place: str) -> ast.Module:
    return ast.parse((TESTS / place).read_text(encoding="utf-8"))


def _is_test(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
