"""The challenge TLS-ALPN-01 (RFC 8737): its type for the library's messages, and the certificate that answers it."""

import hashlib
from datetime import datetime, timedelta

from acme import challenges, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from josepy.jwk import JWK

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""The extension that holds the digest of the key authorization (RFC 8737 section 6.1)."""

LIFETIME = timedelta(days=1)
"""Life of a certificate that proves a name; authorities look within seconds."""

_OCTET_STRING = bytes([4, 32])


@challenges.ChallengeResponse.register
class TlsAlpnResponse(challenges.KeyAuthorizationChallengeResponse):
    """What is sent when the certificate is in place."""

    typ = "tls-alpn-01"


@challenges.Challenge.register
class TlsAlpnChallenge(challenges.KeyAuthorizationChallenge):
    """An authority's offer to look at a name by a handshake; the library itself knows this type no more."""

    response_cls = TlsAlpnResponse
    typ = "tls-alpn-01"

    def validation(self, account_key: JWK, **_unused: object) -> bytes:
        """Return the digest that the certificate must show."""
        return hashlib.sha256(self.key_authorization(account_key).encode("ascii")).digest()


def find_challenge(authorization: messages.Authorization) -> messages.ChallengeBody | None:
    """Return the challenge that we can meet, None when the authority doesn't offer it."""
    return next((one for one in authorization.challenges if isinstance(one.chall, TlsAlpnChallenge)), None)


def proof_pem(name: str, digest: bytes, now: datetime) -> str:
    """Return certificate and key in PEM that prove a name to whoever asks for the digest."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, _OCTET_STRING + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (certificate.public_bytes(Encoding.PEM) + private).decode("ascii")
