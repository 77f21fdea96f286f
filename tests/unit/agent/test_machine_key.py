"""The machine's key: made once, readable by nobody else, and proof to the agent service."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from arcgate.agent.errors import AzcmError
from arcgate.agent.machine_key import KeyKind, MachineKey, parse_certificate, read_certificate, store_certificate
from arcgate.agent.paths import AgentPaths
from arcgate.control.authority.certificates import PublicKey
from arcgate.control.authority.requests import read_public_key
from arcgate.control.his.assertions import verify_assertion
from arcgate.core.errors import InputError
from arcgate.wire.sealed_settings import seal
from worlds.authority import Authority

MACHINE = "33333333-3333-4333-8333-333333333333"


@pytest.fixture(scope="module", params=list(KeyKind))
def key(request: pytest.FixtureRequest) -> MachineKey:
    return MachineKey.generate(request.param)


def _public(key: MachineKey) -> PublicKey:
    return read_public_key(key.client_public_key)


def test_the_public_key_of_an_rsa_key_is_pkcs1_der_of_2048_bits() -> None:
    key = MachineKey.generate()
    public = _public(key)
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048
    assert public.public_bytes(Encoding.DER, PublicFormat.PKCS1) == base64.b64decode(key.client_public_key)


def test_a_stored_key_is_the_same_key_and_private(key: MachineKey, tmp_path: Path) -> None:
    path = tmp_path / "machine.key"
    key.store(path)
    assert MachineKey.load(path).client_public_key == key.client_public_key
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_azcm0104_without_its_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "machine.key"
    path.write_bytes(content)
    with pytest.raises(AzcmError) as caught:
        MachineKey.load(path)
    assert caught.value.number == 104
    assert "AAAA" not in caught.value.one_line()


def test_keys_of_other_curves_are_no_machine_keys(tmp_path: Path) -> None:
    path = tmp_path / "machine.key"
    other = ec.generate_private_key(ec.SECP521R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(AzcmError) as caught:
        MachineKey.load(path)
    assert caught.value.number == 104


def test_settings_sealed_for_the_key_are_opened_by_it_alone(key: MachineKey) -> None:
    sealed = seal(_public(key), MACHINE, "AMA", 7, {"secret": "x"})
    assert key.open_sealed(MACHINE, "AMA", 7, sealed) == {"secret": "x"}
    with pytest.raises(InputError):
        MachineKey.generate(key.kind).open_sealed(MACHINE, "AMA", 7, sealed)


def test_the_service_accepts_the_assertion_and_each_is_another(key: MachineKey) -> None:
    now = datetime.now(UTC)
    first, second = (verify_assertion(key.assertion(MACHINE, now), MACHINE, _public(key), now) for _ in range(2))
    assert first.machine_id == MACHINE
    assert first.identifier != second.identifier


def test_the_signing_request_is_signed_by_the_key(key: MachineKey) -> None:
    request = x509.load_pem_x509_csr(key.signing_request(MACHINE).encode())
    assert request.is_signature_valid
    assert request.public_key() == _public(key)


def test_the_certificate_says_when_it_is_to_be_renewed(authority: Authority) -> None:
    chain, _ = authority.issue("box.arcgate.test")
    facts = parse_certificate(chain.read_bytes())
    assert facts.not_before < facts.half_life < facts.not_after
    assert int(facts.serial, 16) > 0


def test_a_certificate_of_another_key_does_not_match(key: MachineKey, authority: Authority) -> None:
    chain, _ = authority.issue("box.arcgate.test")
    assert not key.matches(parse_certificate(chain.read_bytes()))


def test_a_missing_certificate_is_none_and_a_damaged_one_is_azcm0107(tmp_path: Path) -> None:
    paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path)})
    paths.prepare()
    assert read_certificate(paths) is None
    store_certificate(paths, "nonsense")
    with pytest.raises(AzcmError) as caught:
        read_certificate(paths)
    assert caught.value.number == 107
