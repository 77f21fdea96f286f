"""`arcgate packages sign`."""

from pathlib import Path

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from arcgate.cli.main import arcgate
from arcgate.core.errors import InputError
from arcgate.wire.extension_signature import key_text
from arcgate.wire.package_index import require_signed


def make_key(file: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def test_the_list_holds_the_packages_alone_and_is_signed_by_every_key(tmp_path: Path) -> None:
    keys = [make_key(tmp_path / f"{number}.pem") for number in range(2)]
    (tmp_path / "azcmagent-1.2.3-1.x86_64.rpm").write_bytes(b"package")
    words = ["packages", "sign", str(tmp_path), "--key", str(tmp_path / "0.pem"), "--key", str(tmp_path / "1.pem")]
    result = CliRunner().invoke(arcgate, words)
    assert result.exit_code == 0
    publics = [f"key {key_text(key.public_key())}" for key in keys]
    assert result.stdout.splitlines() == ["signed azcmagent-1.2.3-1.x86_64.rpm", *publics]
    index, signatures = ((tmp_path / name).read_bytes() for name in ("index.json", "index.json.sig"))
    assert b"0.pem" not in index
    for key in keys:
        require_signed(index, signatures, [key.public_key()])


def test_a_folder_without_packages_is_not_signed(tmp_path: Path) -> None:
    make_key(tmp_path / "key.pem")
    result = CliRunner().invoke(arcgate, ["packages", "sign", str(tmp_path), "--key", str(tmp_path / "key.pem")])
    assert isinstance(result.exception, InputError)
    assert result.exception.code == "NO_PACKAGES"
    assert not (tmp_path / "index.json").exists()
