"""Proofs: how a machine shows on a channel of messages, where TLS can't tell, that a CONNECT is its own.

The machine signs, with the key of its certificate, one statement for each CONNECT. The gateway puts the same statement
together from what it knows by itself: its name, the challenge that it made for this channel, how many CONNECTs the
channel has had, and the request. A proof is therefore good for one CONNECT of one channel, and nothing is to be
remembered of those before. Nothing of a statement comes from the proof but the time.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

PROOF_FIELD = "Arcgate-Proof"
"""On each CONNECT of such a channel: `<seconds since 1970>.<signature in base64url>`."""
LARGEST_SKEW = 300
"""Seconds that a proof's time may be away from the gateway's clock; that of the agent service's assertions."""
LEAST_RSA = 2048
"""Bits."""

# What else the key signs (handshakes of TLS, assertions, signing requests) begins in other ways.
_PURPOSE = "arcgate-channel-proof 1"
_PROOF = re.compile(r"(?P<time>[1-9][0-9]{0,11})\.(?P<signature>[A-Za-z0-9_-]{64,1400})\Z")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class ProofError(Exception):
    """A proof doesn't hold; the text says why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a proof is about. None of the texts can hold a line end: they were parsed before."""

    gateway: str
    """The gateway's host name."""
    challenge: str
    number: int
    """Of the CONNECT on its channel, from 1."""
    target: str
    """HOST:PORT as requested."""
    correlation_id: str

    def signed_bytes(self, time: int) -> bytes:
        """Return what is signed at a time (seconds since 1970)."""
        parts = (_PURPOSE, self.gateway, self.challenge, self.number, self.target, self.correlation_id, time)
        return "\n".join(map(str, parts)).encode("ascii")


def sign_proof(key: PrivateKey, statement: Statement, time: int) -> str:
    """Return the proof of a statement; `time` is in seconds since 1970."""
    message = statement.signed_bytes(time)
    match key:
        case rsa.RSAPrivateKey():
            signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    return f"{time}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode('ascii')}"


def verify_proof(proof: str, key: PublicKey, statement: Statement, now: float) -> None:
    """Raise ProofError unless the proof is the key's, about this statement and of these minutes."""
    match = _PROOF.match(proof)
    if match is None:
        raise ProofError("it is malformed")
    time = int(match["time"])
    if abs(now - time) > LARGEST_SKEW:
        raise ProofError(f"its time differs from the gateway's clock by more than {LARGEST_SKEW} s")
    text = match["signature"]
    try:
        signature = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        _verify(key, signature, statement.signed_bytes(time))
    except (InvalidSignature, binascii.Error, ValueError):
        raise ProofError("its signature is not the machine's for this request, at this place of this channel") from None


def can_prove(key: object) -> bool:
    """Say whether keys of this kind sign proofs."""
    match key:
        case rsa.RSAPublicKey():
            return key.key_size >= LEAST_RSA
        case ec.EllipticCurvePublicKey():
            return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
        case _:
            return False


def _verify(key: PublicKey, signature: bytes, message: bytes) -> None:
    match key:
        case rsa.RSAPublicKey():
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePublicKey():
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
