"""`arcgate service-principal`: what of a certificate's file leaves this machine."""

import os
from pathlib import Path

import pytest

from arcgate.cli.service_principal_commands import _read_certificate
from arcgate.core.errors import InputError
from worlds.azure_clients import make_certificate


def test_the_certificate_is_read_and_the_private_key_beside_it_stays(tmp_path: Path) -> None:
    file, certificate = make_certificate(tmp_path)
    assert "PRIVATE KEY" in file.read_text()
    assert _read_certificate(file) == certificate


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", b"\xff\xfe"]
)
def test_a_file_without_a_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.pem"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        _read_certificate(file)
    assert caught.value.code == "CertificateUnusable"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, tmp_path / "none"):
        with pytest.raises(InputError):
            _read_certificate(path)
