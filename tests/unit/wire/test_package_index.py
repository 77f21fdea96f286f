"""Signatures of the list of packages: whose counts, and what is none."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.errors import InputError
from arcgate.wire.package_index import MOST_SIGNATURES, require_signed, sign_index

OLD, NEW, FOREIGN = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(3))
INDEX = b'{"packages":[]}\n'


def check(signatures: str | bytes, *trusted: Ed25519PrivateKey, index: bytes = INDEX) -> None:
    data = signatures.encode() if isinstance(signatures, str) else signatures
    require_signed(index, data, [one.public_key() for one in trusted])


def test_one_trusted_signature_among_others_is_enough() -> None:
    check(sign_index(INDEX, [FOREIGN, OLD]), OLD, NEW)
    check(sign_index(INDEX, [OLD, NEW]), NEW)
    check("a line of another kind\n" + sign_index(INDEX, [NEW]), NEW)


def test_a_signature_for_another_purpose_is_none() -> None:
    whole = sign_index(INDEX, [OLD])
    with pytest.raises(InputError, match="not trusted"):
        check(whole, OLD, index=b"arcgate-package-index 1\n" + INDEX)


@pytest.mark.parametrize(
    ("signatures", "cause"),
    [
        ("", "it is not signed"),
        (sign_index(INDEX, [FOREIGN]), "none of them is trusted"),
        (sign_index(b"other", [OLD]), "does not fit"),
        (sign_index(INDEX, [FOREIGN] * MOST_SIGNATURES) + sign_index(INDEX, [OLD]), "none of them is trusted"),
        (sign_index(INDEX, [OLD]).replace("\n", "\r\n"), "it is not signed"),
    ],
    ids=["none", "another key's", "of other bytes", "too many", "other line ends"],
)
def test_anything_else_is_refused_with_its_cause(signatures: str, cause: str) -> None:
    with pytest.raises(InputError) as caught:
        check(signatures, OLD)
    assert caught.value.code == "PACKAGES_UNTRUSTED"
    assert cause in caught.value.cause


@given(st.binary(max_size=300), st.integers(0, 10**6))
def test_altered_bytes_are_never_trusted(garbage: bytes, place: int) -> None:
    signatures = bytearray(sign_index(INDEX, [OLD]).encode())
    with pytest.raises(InputError):
        check(garbage, OLD)
    signatures[place % (len(signatures) - 1)] ^= 1
    with pytest.raises(InputError):
        check(bytes(signatures), OLD)
