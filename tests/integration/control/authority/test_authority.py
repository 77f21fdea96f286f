"""The authorities in a real database, and the server certificate in its file."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from arcgate.control.authority import Authority, MachineIdentity, load_authority
from arcgate.control.authority.server_certificate import (
    renew,
    server_certificate_file,
    server_names,
    write_ca_file,
)
from arcgate.control.changes import Changes
from arcgate.control.store import Store, open_store
from arcgate.control.store.models import Base, KeyRow
from arcgate.control.store.sealing import Sealer, load_sealer
from arcgate.core.configuration import CloudSettings, Configuration, DatabaseSettings
from arcgate.core.errors import StateError
from worlds.databases import Database

pytestmark = pytest.mark.anyio


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def store(tmp_path: Path, database: Database) -> AsyncIterator[Store]:
    settings = DatabaseSettings(url=database.url(tmp_path))
    opened = open_store(Configuration(state_dir=tmp_path, database=settings), Changes())
    async with opened.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield opened
    await opened.close()


@pytest.fixture
async def authority(store: Store, tmp_path: Path) -> Authority:
    return await load_authority(store, load_sealer(tmp_path), now, 90)


async def test_the_second_start_finds_the_authorities_of_the_first(
    store: Store, authority: Authority, tmp_path: Path
) -> None:
    again = await load_authority(store, load_sealer(tmp_path), now, 90)
    assert again.ca_pem == authority.ca_pem
    assert again.machine_authorities_pem == authority.machine_authorities_pem
    assert authority.ca_pem != authority.machine_authorities_pem


async def test_two_starts_at_once_agree_on_one_authority(store: Store, tmp_path: Path) -> None:
    sealer = load_sealer(tmp_path)
    both = await asyncio.gather(*(load_authority(store, sealer, now, 90) for _ in range(2)))
    assert both[0].ca_pem == both[1].ca_pem


async def test_private_keys_are_sealed_in_the_database(store: Store, authority: Authority) -> None:
    async with store.read() as session:
        row = await session.get(KeyRow, "machine-authority")
    assert row is not None
    assert b"PRIVATE" not in row.private_sealed
    assert "PRIVATE" not in row.public + row.certificate


async def test_another_master_key_opens_nothing(store: Store, authority: Authority) -> None:
    with pytest.raises(StateError) as raised:
        await load_authority(store, Sealer(bytes(32)), now, 90)
    assert raised.value.code == "SEAL_BROKEN"


async def test_machine_certificates_live_as_long_as_configured(store: Store, tmp_path: Path) -> None:
    authority = await load_authority(store, load_sealer(tmp_path), now, 30)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = authority.sign_machine(key.public_key(), MachineIdentity("t", "m"))
    assert timedelta(days=29) < leaf.not_valid_after_utc - now() <= timedelta(days=30)


def test_the_control_planes_names_cover_regions_gateways_and_extras() -> None:
    configuration = Configuration(cloud=CloudSettings(domain="arcgate.test", extra_names=("localhost",)))
    names = server_names(configuration, ["127.0.0.1"])
    assert {"management.arcgate.test", "login.arcgate.test", "*.his.arcgate.test", "*.gw.arcgate.test"} < set(names)
    assert {"packages.arcgate.test", "download.arcgate.test", "localhost", "127.0.0.1"} < set(names)
    assert len(names) == len(set(names))


async def test_the_certificate_file_is_private_and_kept_while_it_is_good(authority: Authority, tmp_path: Path) -> None:
    path = server_certificate_file(authority, ["a.test", "127.0.0.1", "::1"], tmp_path / "tls" / "server.pem")
    first = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    server_certificate_file(authority, ["::1", "127.0.0.1", "a.test"], path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("days", [60, 89, 400])
async def test_the_certificate_is_renewed_when_a_third_of_its_life_is_left(
    authority: Authority, tmp_path: Path, days: int
) -> None:
    path = server_certificate_file(authority, ["a.test"], tmp_path / "server.pem")
    first = path.read_bytes()
    later = replace(authority, clock=lambda: now() + timedelta(days=days))
    server_certificate_file(later, ["a.test"], path)
    assert path.read_bytes() != first


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
async def test_a_damaged_certificate_file_is_replaced(authority: Authority, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(content)
    server_certificate_file(authority, ["a.test"], path)
    assert x509.load_pem_x509_certificate(path.read_bytes()).issuer == authority.servers.certificate.subject


async def test_other_names_or_another_authority_make_a_new_certificate(authority: Authority, tmp_path: Path) -> None:
    path = server_certificate_file(authority, ["a.test"], tmp_path / "server.pem")
    first = path.read_bytes()
    server_certificate_file(authority, ["a.test", "b.test"], path)
    second = path.read_bytes()
    assert second != first
    rogue = replace(authority, servers=authority.machines)
    server_certificate_file(rogue, ["a.test", "b.test"], path)
    assert path.read_bytes() != second


def presented(server: ssl.SSLContext) -> bytes | None:
    """Return the certificate that the server shows in a handshake."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return sides[0].getpeercert(binary_form=True)


async def test_a_running_server_shows_the_renewed_certificate(authority: Authority, tmp_path: Path) -> None:
    path = server_certificate_file(authority, ["a.test"], tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    first = presented(context)
    renew(authority, ["a.test"], path, context)
    assert presented(context) == first
    ahead = replace(authority, clock=lambda: now() + timedelta(days=61))
    renew(ahead, ["a.test"], path, context)
    assert presented(context) not in {first, None}


async def test_the_trust_file_can_be_read_by_all(authority: Authority, tmp_path: Path) -> None:
    path = write_ca_file(authority, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.read_text() == authority.ca_pem
    assert "PRIVATE" not in path.read_text()
