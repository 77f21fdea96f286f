"""Kerberos tokens by the system's library, with a real server: from a ticket, a keytab and a password."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from arcgate.net.kerberos import Negotiation
from arcgate.wire.proxy_authentication import MechanismError
from worlds.kerberos import REALM, Realm
from worlds.scripted import free_port
from worlds.waiting import wait_until

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
HOST = "squid.corp.example"


def run(argv: tuple[str, ...], environment: dict[str, str]) -> None:
    subprocess.run(argv, env={"PATH": PATH, **environment}, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    folder = tmp_path_factory.mktemp("kerberos")
    made = Realm(folder / "realm", "127.0.0.1", free_port(), run).make()
    made.keytab(f"HTTP/{HOST}")
    made.user("user", "hunter2secret")
    run(("kadmin.local", "-r", REALM, "-q", "addprinc +requires_preauth -pw hunter2secret careful"), made.environment)
    environment = {"PATH": PATH, **made.environment}
    with subprocess.Popen(made.server, env=environment, stderr=subprocess.DEVNULL) as server:
        wait_until(lambda: listens(made.port), "the realm's server listens")
        yield made
        server.terminate()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(autouse=True)
def of_the_realm(realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_CONFIG", realm.environment["KRB5_CONFIG"])
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/cache")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{tmp_path}/none")


def is_token(blob: bytes) -> bool:
    """Whether it is a first token of SPNEGO with a Kerberos token inside (RFC 4178 section 4.2)."""
    return blob[:1] == b"\x60" and bytes.fromhex("2b0601050502") in blob and bytes.fromhex("2a864886f712010202") in blob


def test_a_keytab_makes_a_token(realm: Realm) -> None:
    assert is_token(Negotiation(HOST, keytab=str(realm.keytab("machine"))).step(b""))


def test_a_password_makes_a_token() -> None:
    assert is_token(Negotiation(HOST, user=f"user@{REALM}", password="hunter2secret").step(b""))


def test_a_ticket_makes_a_token(realm: Realm, tmp_path: Path) -> None:
    keytab = str(realm.keytab("somebody"))
    run(("kinit", "-k", "-t", keytab, "-c", f"FILE:{tmp_path}/cache", "somebody"), realm.environment)
    assert is_token(Negotiation(HOST).step(b""))


@pytest.mark.parametrize(
    ("negotiation", "words"),
    [
        (Negotiation(HOST), "cache"),
        (Negotiation(HOST, keytab="/nowhere"), "/nowhere"),
        (Negotiation(HOST, user=f"user@{REALM}", password="wrong"), "failed"),
        (Negotiation("other.corp.example", user=f"user@{REALM}", password="hunter2secret"), "not found"),
    ],
)
def test_what_is_missing_is_said(negotiation: Negotiation, words: str) -> None:
    with pytest.raises(MechanismError) as caught:
        negotiation.step(b"")
    assert words in str(caught.value)
    assert "hunter2secret" not in str(caught.value)
    assert "proxy.keytab" in caught.value.remedy


@pytest.mark.parametrize(
    ("negotiation", "is_refusal"),
    [
        (Negotiation(HOST, user=f"user@{REALM}", password="wrong"), True),
        (Negotiation(HOST, user=f"careful@{REALM}", password="wrong"), True),
        (Negotiation(HOST, user="user@NOWHERE.EXAMPLE", password="wrong"), False),
        (Negotiation(HOST), False),
    ],
)
def test_a_wrong_password_is_told_from_a_realm_that_does_not_answer(negotiation: Negotiation, is_refusal: bool) -> None:
    with pytest.raises(MechanismError) as caught:
        negotiation.step(b"")
    assert caught.value.is_refusal is is_refusal


def test_a_keytab_with_old_keys_is_refused(realm: Realm, tmp_path: Path) -> None:
    old = shutil.copy(realm.keytab("renewed"), tmp_path / "old.keytab")
    realm.keytab("renewed")
    with pytest.raises(MechanismError) as caught:
        Negotiation(HOST, keytab=str(old)).step(b"")
    assert caught.value.is_refusal


def test_the_proxy_gets_no_second_token() -> None:
    with pytest.raises(MechanismError):
        Negotiation(HOST).step(b"more")
