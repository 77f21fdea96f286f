"""When a certificate is renewed, and that a failure keeps the old one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from arcgate.agent.agent_service import AgentService
from arcgate.agent.himds.renewal import LONGEST_PAUSE, Renewal
from arcgate.agent.machine_key import MachineKey, parse_certificate, store_certificate
from arcgate.agent.paths import AgentPaths
from arcgate.core.errors import Hop, HopError

pytestmark = pytest.mark.anyio
START = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = timedelta(days=90)


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _certificate(key: rsa.RSAPrivateKey, start: datetime = START) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "machine")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    certificate = builder.not_valid_before(start).not_valid_after(start + LIFE).sign(key, hashes.SHA256())
    return certificate.public_bytes(Encoding.PEM).decode()


class Service:
    def __init__(self, chain: str | None) -> None:
        self.chain = chain

    async def certificate(self) -> str:
        if self.chain is None:
            raise HopError(Hop.TCP, "TCP_REFUSED", "Refused.")
        return self.chain


@pytest.fixture
def renewal(tmp_path: Path, private_key: rsa.RSAPrivateKey) -> Renewal:
    paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path)})
    paths.prepare()
    return Renewal(paths, MachineKey(private_key), lambda: 0.5)


def test_a_missing_certificate_is_due_at_once(renewal: Renewal) -> None:
    assert renewal.pause(START) == 0


def test_a_damaged_certificate_is_due_at_once(renewal: Renewal) -> None:
    store_certificate(renewal.paths, "nonsense")
    assert renewal.pause(START) == 0


def test_a_certificate_of_another_key_is_due_at_once(renewal: Renewal) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    store_certificate(renewal.paths, _certificate(other))
    assert renewal.pause(START) == 0


def test_a_certificate_is_due_somewhat_after_half_of_its_life(renewal: Renewal, private_key: rsa.RSAPrivateKey) -> None:
    store_certificate(renewal.paths, _certificate(private_key))
    due = START + LIFE / 2 + LIFE * 0.1 * 0.5
    assert renewal.pause(START) == LONGEST_PAUSE
    assert renewal.pause(due - timedelta(seconds=60)) == pytest.approx(60)
    assert renewal.pause(due) == 0


def test_the_clock_is_read_again_at_least_hourly(renewal: Renewal, private_key: rsa.RSAPrivateKey) -> None:
    store_certificate(renewal.paths, _certificate(private_key))
    assert renewal.pause(START) <= 3600


async def test_a_renewed_certificate_replaces_the_old_one(renewal: Renewal, private_key: rsa.RSAPrivateKey) -> None:
    store_certificate(renewal.paths, _certificate(private_key))
    fresh = _certificate(private_key, START + LIFE / 2)
    await renewal.renew(cast("AgentService", Service(fresh)))
    assert renewal.certificate() == parse_certificate(fresh)
    assert renewal.pause(START + LIFE / 2) > 0


async def test_a_failed_renewal_keeps_the_old_one(renewal: Renewal, private_key: rsa.RSAPrivateKey) -> None:
    old = _certificate(private_key)
    store_certificate(renewal.paths, old)
    with pytest.raises(HopError):
        await renewal.renew(cast("AgentService", Service(None)))
    assert renewal.certificate() == parse_certificate(old)
