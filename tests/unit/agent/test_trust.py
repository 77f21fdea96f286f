"""TLS contexts are kept until what they are made of changes."""

import ssl
from pathlib import Path

import pytest

from arcgate.agent.trust import KEPT, Trust
from arcgate.core.errors import StateError
from worlds.authority import Authority


def test_the_same_files_give_the_same_context(authority: Authority) -> None:
    trust = Trust()
    certificate = authority.issue("machine-one")
    first = trust.gateways(authority.pem, certificate)
    assert trust.gateways(authority.pem, certificate) is first
    assert first.minimum_version is ssl.TLSVersion.TLSv1_3
    assert trust.gateways(authority.pem, None) is not first
    assert trust.servers(authority.pem) is trust.servers(authority.pem)
    assert trust.servers("") is not trust.servers(authority.pem)


def test_replaced_files_give_a_new_context(authority: Authority) -> None:
    trust = Trust()
    certificate, other = authority.issue("machine-one"), authority.issue("machine-two")
    first = trust.gateways(authority.pem, certificate)
    for old, new in zip(certificate, other, strict=True):
        new.replace(old)
    assert trust.gateways(authority.pem, certificate) is not first


def test_a_certificate_that_is_not_there_is_none(authority: Authority, tmp_path: Path) -> None:
    missing = (tmp_path / "machine.pem", tmp_path / "machine.key")
    trust = Trust()
    assert trust.gateways(authority.pem, missing) is trust.gateways(authority.pem, None)


def test_files_that_do_not_belong_together_are_an_error(authority: Authority) -> None:
    one, other = authority.issue("machine-one"), authority.issue("machine-two")
    with pytest.raises(StateError, match="TLS can't use"):
        Trust().gateways(authority.pem, (one[0], other[1]))


def test_only_some_contexts_are_kept(authority: Authority) -> None:
    trust = Trust()
    first = trust.servers(authority.pem)
    for number in range(KEPT):
        trust.servers(authority.pem + "\n" * number + "\n")
    assert trust.servers(authority.pem) is not first
