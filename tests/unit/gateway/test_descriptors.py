"""A worker without descriptors: what it can't find out must not let anything through, and is no fault of a target."""

import errno
import os
import socket
from ipaddress import ip_address
from typing import NoReturn

import pytest

from arcgate.core.errors import Hop, HopError
from arcgate.core.verdicts import EXPLANATIONS, Reason, Verdict
from arcgate.gateway.outbound import _dial_verdict
from arcgate.gateway.service import _is_local


def test_a_dial_without_descriptors_is_refused_as_our_limit_with_a_time_to_retry() -> None:
    verdict = _dial_verdict(Verdict(Reason.FEATURE), HopError(Hop.TCP, "NO_DESCRIPTORS", "192.0.2.1 can't be dialled."))
    assert verdict.reason is Reason.LIMIT_REACHED
    assert EXPLANATIONS[verdict.reason].status == 503


@pytest.mark.parametrize(("number", "is_local"), [(errno.EMFILE, True), (errno.ENFILE, True), (errno.EACCES, False)])
def test_an_address_that_can_not_be_tried_is_taken_for_our_own(
    monkeypatch: pytest.MonkeyPatch, number: int, is_local: bool
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", fail)
    assert _is_local(ip_address("192.0.2.1")) is is_local


def test_an_address_of_this_host_is_its_own_and_another_one_is_not() -> None:
    assert _is_local(ip_address("127.0.0.1"))
    assert not _is_local(ip_address("192.0.2.1"))
