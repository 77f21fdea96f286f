"""A handler's files: what is written for it, and how little of what it writes is believed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.errors import InputError
from arcgate.core.extension_goals import LONGEST_MESSAGE
from arcgate.core.extension_lifecycle import Command
from arcgate.core.handler_documents import (
    HandlerState,
    read_heartbeat,
    read_manifest,
    read_status,
    settings_document,
)


def manifest(**changes: Any) -> bytes:
    commands = {f"{command}Command": f"bin/run {command}" for command in Command}
    return json.dumps([{"version": 1.0, "handlerManifest": {**commands, **changes}}]).encode()


def status(**changes: Any) -> bytes:
    one = {"status": "success", "code": 0, "formattedMessage": {"lang": "en", "message": "Fine."}, **changes}
    return json.dumps([{"version": "1.0", "status": one}]).encode()


def test_a_manifest_names_its_commands() -> None:
    found = read_manifest(manifest(reportHeartbeat=True, enableCommand='bin/run "a b"'))
    assert found.commands[Command.ENABLE] == ("bin/run", "a b")
    assert found.commands[Command.INSTALL] == ("bin/run", "install")
    assert (found.reports_heartbeat, found.updates_with_install, found.takes_protected_settings) == (True, True, False)
    assert not read_manifest(manifest(updateMode="UpdateWithoutInstall")).updates_with_install


@pytest.mark.parametrize(
    "change",
    [
        {"enableCommand": "/bin/sh -c evil"},
        {"enableCommand": "../../other/bin"},
        {"enableCommand": "bin/../../up"},
        {"enableCommand": ""},
        {"enableCommand": "a 'unclosed"},
        {"enableCommand": "bin/run\nx"},
        {"enableCommand": None},
        {"enableCommand": "x " * 100},
        {"updateMode": "Sideways"},
    ],
)
def test_a_manifest_whose_commands_lead_elsewhere_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        read_manifest(manifest(**change))
    assert caught.value.code == "HANDLER_MANIFEST_INVALID"


@pytest.mark.parametrize(("word", "state"), [("success", HandlerState.SUCCESS), ("Error", HandlerState.ERROR)])
def test_a_status_is_understood_with_its_substatuses(word: str, state: HandlerState) -> None:
    sub = [{"name": "StdOut", "formattedMessage": {"message": "hello"}}, {"name": "x"}, 5]
    found = read_status(b"\xef\xbb\xbf" + status(status=word, code=17, substatus=sub))
    assert (found.state, found.code) == (state, "17")
    assert found.message.startswith("Fine.")
    assert "[StdOut] hello" in found.message


def test_a_message_is_cut_and_made_harmless() -> None:
    found = read_status(status(formattedMessage={"message": "\x1b[31m" + "x" * 50_000}))
    assert len(found.message) == LONGEST_MESSAGE
    assert "\x1b" not in found.message


@pytest.mark.parametrize("code", [True, None, [], 10**30, "a", "1\n"])
def test_a_code_that_is_none_counts_as_zero(code: Any) -> None:
    assert read_status(status(code=code)).code == "0"


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), lambda one: st.lists(one)).map(repr).map(str.encode)
)
def test_garbage_has_a_reason_and_no_other_end(data: bytes) -> None:
    for read in (read_status, read_heartbeat):
        with pytest.raises(ValueError, match="can't be understood"):
            read(data)
    with pytest.raises(InputError):
        read_manifest(data)


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"status":' * 20_000, b" " * 300_000, b"[{}]", b"[]", b'{"status": 5}']
)
def test_hostile_documents_are_refused_at_once(data: bytes) -> None:
    with pytest.raises(ValueError, match="can't be understood"):
        read_status(data)


def test_a_heartbeat_says_whether_its_handler_is_ready() -> None:
    beat = {"heartbeat": {"status": "Ready", "formattedMessage": {"message": "All is well."}}}
    assert read_heartbeat(json.dumps([beat]).encode()) == (True, "All is well.")
    assert read_heartbeat(b'{"heartbeat": {"status": "notReady"}}') == (False, "")


def test_settings_without_secrets_name_no_certificate() -> None:
    assert settings_document({"a": 1}, "", "ABC") == {
        "runtimeSettings": [{"handlerSettings": {"publicSettings": {"a": 1}}}]
    }
