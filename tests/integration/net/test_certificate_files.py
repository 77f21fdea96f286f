"""A server's certificate files that change under it: taken while it serves, and left when they are of no use."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from structlog.testing import capture_logs

from arcgate.net.certificate_files import CertificateFiles
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import server_context
from worlds.waiting import until

pytestmark = pytest.mark.anyio
NAME = "gateway.arcgate.test"


@dataclass
class Served:
    """A TLS server whose files the test writes."""

    chain: Path
    key: Path
    port: int
    takes: list[int]

    def write(self, issued: trustme.LeafCert) -> int:
        """Put a certificate in place as ACME clients do, and return its serial number."""
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.chain.write_bytes(issued.cert_chain_pems[0].bytes())
        return serial_of(issued.cert_chain_pems[0].bytes())

    async def serial(self) -> int:
        """The serial number that a client sees."""
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", self.port))
        return serial_of(pem.encode())


def serial_of(pem: bytes) -> int:
    return x509.load_pem_x509_certificate(pem).serial_number


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def served(tmp_path: Path, authority: trustme.CA) -> AsyncIterator[Served]:
    one = Served(tmp_path / "chain.pem", tmp_path / "key.pem", 0, [])
    one.write(authority.issue_cert(NAME))
    context = server_context(one.chain, one.key)
    files = CertificateFiles(one.chain, one.key)

    def take() -> None:
        files.load_into(context)
        one.takes.append(1)

    following = spawn("follow", files.follow(take, 0.01))
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        one.port = server.sockets[0].getsockname()[1]
        yield one
    await cancel(following)


async def test_a_renewed_certificate_is_served_without_a_restart(served: Served, authority: trustme.CA) -> None:
    before = await served.serial()
    wanted = served.write(authority.issue_cert(NAME))
    await until(lambda: served.takes, what="the new certificate is taken")
    assert await served.serial() == wanted != before


@pytest.mark.parametrize("damage", [b"", b"no certificate", None])
async def test_files_of_no_use_leave_the_old_certificate(
    served: Served, authority: trustme.CA, damage: bytes | None
) -> None:
    before = await served.serial()
    with capture_logs() as said:
        damage_file(served, authority, damage)
        await until(lambda: any("of no use" in one["event"] for one in said), what="the damage is logged")
    assert served.takes == []
    assert await served.serial() == before
    wanted = served.write(authority.issue_cert(NAME))
    await until(lambda: served.takes, what="the next certificate is taken")
    assert await served.serial() == wanted


def damage_file(served: Served, authority: trustme.CA, damage: bytes | None) -> None:
    if damage is None:  # a certificate whose key is another's
        served.chain.write_bytes(authority.issue_cert(NAME).cert_chain_pems[0].bytes())
    else:
        served.chain.write_bytes(damage)
