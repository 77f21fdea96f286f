"""Signed bundles: only what a trusted key signed is read, byte for byte."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.errors import InputError
from arcgate.wire.catalogue_bundle import (
    LARGEST_BUNDLE,
    key_id,
    make_bundle,
    open_bundle,
    read_private_key,
    read_public_key,
)

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
TEXT = '[source]\ntitle = "own"\ndate = 2026-11-23\nedition = 2099010101\n'
BUNDLE = make_bundle([TEXT], {"note": "mine"}, KEY)


def test_a_bundle_holds_what_was_signed_and_who_signed_it() -> None:
    bundle = open_bundle(BUNDLE, [OTHER.public_key(), KEY.public_key()])
    assert bundle.texts == (TEXT,)
    assert bundle.catalogue.edition == 2099010101
    assert bundle.provenance == {"note": "mine"}
    assert bundle.key_id == key_id(KEY.public_key())


@pytest.mark.parametrize("trusted", [[], [OTHER.public_key()]])
def test_a_bundle_of_a_key_that_is_not_trusted_is_refused(trusted: list[object]) -> None:
    with pytest.raises(InputError) as caught:
        open_bundle(BUNDLE, trusted)  # type: ignore[arg-type]
    assert caught.value.code == "BUNDLE_UNTRUSTED"


def test_any_change_of_content_or_signature_is_refused() -> None:
    document = json.loads(BUNDLE)
    for change in (
        {"content": document["content"].replace("own", "evil")},
        {"content": document["content"] + " "},
        {"signature": json.loads(make_bundle([TEXT], {}, KEY))["signature"]},
        {"key": key_id(OTHER.public_key())},
    ):
        with pytest.raises(InputError) as caught:
            open_bundle(json.dumps({**document, **change}).encode(), [KEY.public_key(), OTHER.public_key()])
        assert caught.value.code == "BUNDLE_UNTRUSTED"


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_what_is_no_bundle_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        open_bundle(data, [KEY.public_key()])
    assert caught.value.code == "BUNDLE_INVALID"


def test_a_bundle_larger_than_any_is_not_even_parsed() -> None:
    with pytest.raises(InputError, match="no bundle"):
        open_bundle(b" " * (LARGEST_BUNDLE + 1) + BUNDLE, [KEY.public_key()])


def test_texts_that_are_no_catalogue_are_not_signed() -> None:
    with pytest.raises(InputError):
        make_bundle(["[source]\ntitle = 'x'\n"], {}, KEY)


def test_keys_are_ed25519_in_pem() -> None:
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert key_id(read_private_key(private).public_key()) == key_id(read_public_key(public))
    curve = generate_private_key(SECP256R1())
    for pem in (b"", public, curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())):
        with pytest.raises(InputError, match="no Ed25519 key"):
            read_private_key(pem)
    for pem in (b"", private, curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        with pytest.raises(InputError, match="no Ed25519 key"):
            read_public_key(pem)
