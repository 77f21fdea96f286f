import datetime
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from arcgate.cli.configuration_files import find_unusable_files
from arcgate.core.configuration import Configuration
from arcgate.core.errors import Place
from worlds.authority import Authority

NOW = datetime.datetime.now(datetime.UTC)


def findings(document: dict[str, Any], now: datetime.datetime = NOW) -> list[tuple[str, str]]:
    configuration = Configuration.model_validate(document)
    errors = find_unusable_files(configuration, lambda path: Place("file", 1, ".".join(path)), now)
    assert all(error.remedy for error in errors)
    return [(error.place.key, error.sentence) for error in errors]


def tls(chain: Path, key: Path) -> dict[str, Any]:
    return {"tls": {"certificate_file": str(chain), "key_file": str(key)}}


def write_key(path: Path, key: Any, password: bytes = b"") -> Path:
    encryption: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return path


def test_a_pair_that_belongs_together_is_good(authority: Authority) -> None:
    assert findings(tls(*authority.issue("*.gw.arcgate.test"))) == []


def test_a_certificate_of_another_domain_is_refused(authority: Authority) -> None:
    [(place, sentence)] = findings(tls(*authority.issue("*.gw.other.example")))
    assert place == "tls.certificate_file"
    assert "*.gw.other.example" in sentence
    assert findings(tls(*authority.issue("management.arcgate.test"))) == []


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    chain, _ = authority.issue("*.gw.arcgate.test")
    _, key = authority.issue("b.example")
    [(place, sentence)] = findings(tls(chain, key))
    assert place == "tls.key_file"
    assert "is not the key" in sentence


def test_a_key_that_others_may_read_is_refused(authority: Authority) -> None:
    chain, key = authority.issue("*.gw.arcgate.test")
    key.chmod(0o644)
    assert "Others on this host may use" in findings(tls(chain, key))[0][1]


def test_an_encrypted_key_is_refused_instead_of_asking(authority: Authority, tmp_path: Path) -> None:
    chain, _ = authority.issue("*.gw.arcgate.test")
    key = write_key(tmp_path / "key", ec.generate_private_key(ec.SECP256R1()), b"password")
    assert "encrypted" in findings(tls(chain, key))[0][1]


@pytest.mark.parametrize(
    "make", [lambda: rsa.generate_private_key(65537, 1024), lambda: ec.generate_private_key(ec.SECP192R1())]
)
def test_a_weak_key_is_refused(authority: Authority, tmp_path: Path, make: Any) -> None:
    chain, _ = authority.issue("*.gw.arcgate.test")
    assert "too weak" in findings(tls(chain, write_key(tmp_path / "key", make())))[0][1]


def test_a_certificate_out_of_its_time_is_refused(authority: Authority) -> None:
    pair = authority.issue("*.gw.arcgate.test")
    assert "expired" in findings(tls(*pair), NOW + datetime.timedelta(days=365 * 2000))[0][1]
    assert "valid from" in findings(tls(*pair), NOW - datetime.timedelta(days=365 * 500))[0][1]


@pytest.mark.parametrize(
    "content", [b"", b"   \n", b"garbage", b"# only a comment\n", b"-----BEGIN CERTIFICATE-----\nx\n"]
)
def test_what_is_no_certificate_is_refused(authority: Authority, tmp_path: Path, content: bytes) -> None:
    _, key = authority.issue("*.gw.arcgate.test")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(content)
    assert findings(tls(chain, key))[0][0] == "tls.certificate_file"
    assert findings({"gateway": {"control_ca_file": str(chain)}})[0][0] == "gateway.control_ca_file"


def test_a_missing_file_a_folder_and_a_fifo_are_refused(authority: Authority, tmp_path: Path) -> None:
    _, key = authority.issue("*.gw.arcgate.test")
    os.mkfifo(tmp_path / "fifo")
    for chain in (tmp_path / "absent", tmp_path, tmp_path / "fifo"):
        assert findings(tls(chain, key))[0][0] == "tls.certificate_file"


def test_an_authority_is_trusted_and_a_servers_certificate_is_not(authority: Authority) -> None:
    chain, _ = authority.issue("*.gw.arcgate.test")
    assert findings({"gateway": {"control_ca_file": str(authority.file)}}) == []
    assert "no authority" in findings({"gateway": {"control_ca_file": str(chain)}})[0][1]


def test_a_key_among_the_authorities_is_refused(authority: Authority, tmp_path: Path) -> None:
    _, key = authority.issue("*.gw.arcgate.test")
    mixed = tmp_path / "ca.pem"
    mixed.write_text(authority.pem + key.read_text())
    assert "private key" in findings({"gateway": {"control_ca_file": str(mixed)}})[0][1]


def test_expired_authorities_are_refused(authority: Authority) -> None:
    later = NOW + datetime.timedelta(days=365 * 2000)
    assert "expired" in findings({"gateway": {"control_ca_file": str(authority.file)}}, later)[0][1]


def test_a_state_folder_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert findings({"state_dir": str(folder)}) == []
    folder.mkdir(mode=0o700)
    assert findings({"state_dir": str(folder)}) == []
    folder.chmod(0o777)
    assert "everybody" in findings({"state_dir": str(folder)})[0][1]


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert "not a folder" in findings({"state_dir": str(tmp_path / "state")})[0][1]
    assert findings({"state_dir": str(tmp_path / "state" / "below")})[0][0] == "state_dir"


def test_a_node_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "node.secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    gateway = {"control_url": "https://management.example", "node_secret_file": str(secret)}
    assert findings({"gateway": gateway})[0][0] == "gateway.node_secret_file"
