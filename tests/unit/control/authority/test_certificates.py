"""Chains of our authorities, judged by OpenSSL at its strictest, over handshakes in memory."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from arcgate.control.authority.certificates import (
    Issuer,
    MachineIdentity,
    is_due_for_renewal,
    issue_machine,
    issue_server,
    make_root,
    serial_of,
)

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
MACHINE = MachineIdentity("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
NAMES = ("management.arcgate.test", "*.his.arcgate.test", "*.gw.arcgate.test", "127.0.0.1", "::1")


@pytest.fixture(scope="module")
def servers() -> Issuer:
    return make_root("Arcgate servers", NOW)


@pytest.fixture(scope="module")
def machines() -> Issuer:
    return make_root("Arcgate machines", NOW)


def write(folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Path:
    path = folder / f"{serial_of(certificate)}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    return path


def strict(context: ssl.SSLContext, root: Issuer) -> ssl.SSLContext:
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=root.certificate.public_bytes(Encoding.PEM).decode())
    return context


def server_context(path: Path, clients: Issuer | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context if clients is None else strict(context, clients)


def client_context(root: Issuer, path: Path | None = None) -> ssl.SSLContext:
    context = strict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), root)
    if path is not None:
        context.load_cert_chain(path)
    return context


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Return the server's side of a finished handshake; raises what either side raises."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(down, up, server_hostname=name)
    other = server.wrap_bio(up, down, server_side=True)
    for _ in range(6):
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    one.getpeercert()
    return other


@pytest.fixture
def server_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def server_file(folder: Path, issuer: Issuer, key: ec.EllipticCurvePrivateKey, now: datetime = NOW) -> Path:
    return write(folder, issue_server(issuer, key.public_key(), NAMES, now, 90 * DAY), key)


@pytest.mark.parametrize(
    "name", ["management.arcgate.test", "eastus.his.arcgate.test", "abc.gw.arcgate.test", "127.0.0.1", "::1"]
)
def test_strict_clients_accept_the_server_by_each_of_its_names(
    tmp_path: Path, servers: Issuer, server_key: ec.EllipticCurvePrivateKey, name: str
) -> None:
    done = shake(client_context(servers), server_context(server_file(tmp_path, servers, server_key)), name)
    assert done.version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["login.arcgate.test", "a.b.his.arcgate.test", "his.arcgate.test", "127.0.0.2"])
def test_a_name_that_the_certificate_does_not_hold_is_refused(
    tmp_path: Path, servers: Issuer, server_key: ec.EllipticCurvePrivateKey, name: str
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(client_context(servers), server_context(server_file(tmp_path, servers, server_key)), name)


def test_the_machine_authority_is_no_root_for_servers(
    tmp_path: Path, machines: Issuer, servers: Issuer, server_key: ec.EllipticCurvePrivateKey
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(servers), server_context(server_file(tmp_path, machines, server_key)), NAMES[0])


def test_an_authority_of_the_same_name_with_another_key_is_refused(
    tmp_path: Path, servers: Issuer, server_key: ec.EllipticCurvePrivateKey
) -> None:
    rogue = make_root("Arcgate servers", NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(servers), server_context(server_file(tmp_path, rogue, server_key)), NAMES[0])


def test_an_expired_server_certificate_is_refused(
    tmp_path: Path, servers: Issuer, server_key: ec.EllipticCurvePrivateKey
) -> None:
    path = server_file(tmp_path, servers, server_key, NOW - 90 * DAY - timedelta(seconds=1))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(client_context(servers), server_context(path), NAMES[0])


def machine_file(folder: Path, issuer: Issuer, now: datetime = NOW) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    return write(folder, issue_machine(issuer, key.public_key(), MACHINE, now, 90 * DAY), key)


def test_a_machine_certificate_passes_and_names_the_machine(
    tmp_path: Path, servers: Issuer, machines: Issuer, server_key: ec.EllipticCurvePrivateKey
) -> None:
    server = server_context(server_file(tmp_path, servers, server_key), machines)
    done = shake(client_context(servers, machine_file(tmp_path, machines)), server, NAMES[0])
    shown = done.getpeercert()
    assert shown is not None
    assert shown["subjectAltName"] == (("URI", f"urn:arcgate:machine:{MACHINE.tenant_id}:{MACHINE.machine_id}"),)
    assert shown["subject"] == ((("commonName", MACHINE.machine_id),),)


def test_a_server_certificate_is_no_client_certificate(
    tmp_path: Path, servers: Issuer, machines: Issuer, server_key: ec.EllipticCurvePrivateKey
) -> None:
    server = server_context(server_file(tmp_path, servers, server_key), machines)
    wrong_purpose = server_file(tmp_path, machines, server_key)
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        shake(client_context(servers, wrong_purpose), server, NAMES[0])


def test_a_machine_certificate_is_no_server_certificate(tmp_path: Path, servers: Issuer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        shake(client_context(servers), server_context(machine_file(tmp_path, servers)), NAMES[0])


def test_an_expired_machine_certificate_is_refused(
    tmp_path: Path, servers: Issuer, machines: Issuer, server_key: ec.EllipticCurvePrivateKey
) -> None:
    server = server_context(server_file(tmp_path, servers, server_key), machines)
    old = machine_file(tmp_path, machines, NOW - 91 * DAY)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(client_context(servers, old), server, NAMES[0])


def test_a_machine_certificate_signs_no_other(
    tmp_path: Path, servers: Issuer, machines: Issuer, server_key: ec.EllipticCurvePrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    machine = Issuer(issue_machine(machines, key.public_key(), MACHINE, NOW, 90 * DAY), key)
    path = machine_file(tmp_path, machine)
    path.write_bytes(path.read_bytes() + machine.certificate.public_bytes(Encoding.PEM))
    server = server_context(server_file(tmp_path, servers, server_key), machines)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(servers, path), server, NAMES[0])


def test_leaves_are_no_authorities_and_have_one_purpose(machines: Issuer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue_machine(machines, key.public_key(), MACHINE, NOW, 90 * DAY)
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == NOW + 90 * DAY


def test_a_leaf_never_outlives_its_authority(machines: Issuer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    late = machines.certificate.not_valid_after_utc - DAY
    leaf = issue_machine(machines, key.public_key(), MACHINE, late, 90 * DAY)
    assert leaf.not_valid_after_utc == machines.certificate.not_valid_after_utc


def test_renewal_is_due_when_a_third_of_the_life_is_left(servers: Issuer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue_server(servers, key.public_key(), NAMES, NOW, 90 * DAY)
    assert not is_due_for_renewal(leaf, NOW)
    assert not is_due_for_renewal(leaf, NOW + 59 * DAY)
    assert is_due_for_renewal(leaf, NOW + 60 * DAY)
    assert is_due_for_renewal(leaf, NOW + 400 * DAY)


def test_serial_numbers_are_lower_case_hexadecimal_and_differ(servers: Issuer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    serials = {serial_of(issue_server(servers, key.public_key(), NAMES, NOW, DAY)) for _ in range(5)}
    assert len(serials) == 5
    assert all(int(serial, 16).bit_length() <= 159 and not serial.startswith("0") for serial in serials)


def test_a_name_longer_than_a_common_name_still_gets_its_certificate(servers: Issuer) -> None:
    long = ".".join(["a" * 60, "b" * 60, "test"])
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue_server(servers, key.public_key(), [long], NOW, DAY)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [long]
