"""Protected settings as handlers find them: a CMS message for a certificate whose key lies beside the handler's folder.

That is the handler contract's form: <THUMBPRINT>.crt and <THUMBPRINT>.prv, and base64 of DER in N.settings, which
`openssl cms -decrypt` opens. Key and folder are root's alone; another machine's can't open it.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
)
from cryptography.x509.oid import NameOID

from arcgate.net.files import write_file

LIFE = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class HandlerCertificate:
    """The certificate that a handler's protected settings are sealed for."""

    certificate: x509.Certificate

    @classmethod
    def in_folder(cls, folder: Path) -> "HandlerCertificate":
        """Return the folder's certificate, a fresh one when there is none that can be used; raises OSError."""
        for file in sorted(folder.glob("*.crt")):
            try:
                found = cls(x509.load_pem_x509_certificate(file.read_bytes()))
                key = load_pem_private_key(file.with_suffix(".prv").read_bytes(), password=None)
                if key.public_key() == found.certificate.public_key():
                    return found
            except (ValueError, TypeError, OSError):
                continue
        return cls._make(folder)

    @classmethod
    def _make(cls, folder: Path) -> "HandlerCertificate":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "extension handler")]), datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + LIFE)
        made = cls(builder.sign(key, hashes.SHA256()))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_file(folder / f"{made.thumbprint}.prv", private)
        write_file(folder / f"{made.thumbprint}.crt", made.certificate.public_bytes(Encoding.PEM))
        return made

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the certificate, in capitals: a name, not a protection."""
        return self.certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303

    def seal(self, content: bytes) -> str:
        """Return the content sealed, in base64."""
        builder = pkcs7.PKCS7EnvelopeBuilder().set_data(content).add_recipient(self.certificate)
        builder = builder.set_content_encryption_algorithm(AES256)
        return base64.b64encode(builder.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])).decode("ascii")
