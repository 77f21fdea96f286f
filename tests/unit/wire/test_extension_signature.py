"""Signed packages: one changed byte, another key or another purpose, and nothing is trusted."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.errors import InputError
from arcgate.core.extension_packages import PackageDescription
from arcgate.wire.extension_signature import (
    SignedPackage,
    key_text,
    parse_list,
    read_keys,
    require_content,
    sign_package,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ONE = PackageDescription("Contoso", "Backup", "1.0", "any", 5, EMPTY)


def test_what_one_of_the_trusted_keys_has_signed_is_trusted() -> None:
    signed = SignedPackage.from_json(sign_package(ONE, KEY).to_json())
    assert signed.verified([OTHER.public_key(), KEY.public_key()]) == ONE
    for keys in ([], [OTHER.public_key()]):
        with pytest.raises(InputError) as caught:
            signed.verified(keys)
        assert caught.value.code == "PACKAGE_UNTRUSTED"


@given(st.integers(0, len(ONE.to_text()) - 1), st.integers(1, 127))
def test_no_character_of_a_description_can_be_changed(place: int, change: int) -> None:
    signed = sign_package(ONE, KEY)
    letter = chr(ord(signed.text[place]) ^ change)
    changed = replace(signed, text=signed.text[:place] + letter + signed.text[place + 1 :])
    with pytest.raises(InputError):
        changed.verified([KEY.public_key()])


def test_a_signature_over_the_text_alone_does_not_count() -> None:
    bare = base64.b64encode(KEY.sign(ONE.to_text().encode())).decode()
    with pytest.raises(InputError):
        SignedPackage(ONE.to_text(), bare).verified([KEY.public_key()])


@pytest.mark.parametrize("signature", ["", "not base64!", "AAAA", "é"])
def test_a_signature_that_can_not_be_read_is_none(signature: str) -> None:
    with pytest.raises(InputError) as caught:
        SignedPackage(ONE.to_text(), signature).verified([KEY.public_key()])
    assert caught.value.code == "PACKAGE_UNTRUSTED"


def test_content_must_have_size_and_digest_of_the_description() -> None:
    require_content(
        replace(ONE, size=5, sha256="2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"), b"hello"
    )
    for content in (b"", b"hello", b"hellO"):
        with pytest.raises(InputError, match="not the one"):
            require_content(ONE, content)


def test_a_list_leaves_out_what_is_no_package() -> None:
    good = sign_package(ONE, KEY).to_json()
    assert parse_list({"packages": [5, {}, {"description": 1}, good]}) == [SignedPackage.from_json(good)]
    bad: tuple[object, ...] = (None, [], {"packages": 5})
    for document in bad:
        with pytest.raises(InputError):
            parse_list(document)


def test_keys_are_thirty_two_bytes_in_base64() -> None:
    text = key_text(KEY.public_key())
    assert key_text(read_keys([text])[0]) == text
    for bad in ("", "x", text[:-4], text + "AAAA"):
        with pytest.raises(InputError) as caught:
            read_keys([bad])
        assert caught.value.code == "KEY_INVALID"
