"""Proofs of signed channels: good for one statement, one key and some minutes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from arcgate.wire.proofs import LARGEST_SKEW, PrivateKey, ProofError, Statement, can_prove, sign_proof, verify_proof

NOW = 1_800_000_000
STATEMENT = Statement("gw.example", "c" * 43, 1, "target.example:443", "0123456789abcdef")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("key", [RSA, EC])
@pytest.mark.parametrize("skew", [-LARGEST_SKEW, 0, LARGEST_SKEW])
def test_a_proof_holds_for_its_statement(key: PrivateKey, skew: int) -> None:
    verify_proof(sign_proof(key, STATEMENT, NOW), key.public_key(), STATEMENT, NOW + skew)


@pytest.mark.parametrize(
    "change",
    [
        {"gateway": "other.example"},
        {"challenge": "d" * 43},
        {"number": 2},
        {"target": "target.example:80"},
        {"correlation_id": "0123456789abcdee"},
        {"correlation_id": ""},
    ],
)
@pytest.mark.parametrize("key", [RSA, EC])
def test_it_holds_for_no_other(key: PrivateKey, change: dict[str, Any]) -> None:
    with pytest.raises(ProofError):
        verify_proof(sign_proof(key, STATEMENT, NOW), key.public_key(), replace(STATEMENT, **change), NOW)


def test_it_holds_for_no_other_key() -> None:
    for signs, verifies in ((RSA, EC), (EC, RSA), (EC, ec.generate_private_key(ec.SECP256R1()))):
        with pytest.raises(ProofError):
            verify_proof(sign_proof(signs, STATEMENT, NOW), verifies.public_key(), STATEMENT, NOW)


@pytest.mark.parametrize("skew", [LARGEST_SKEW + 1, -LARGEST_SKEW - 1])
def test_it_is_good_for_some_minutes(skew: int) -> None:
    with pytest.raises(ProofError, match="clock"):
        verify_proof(sign_proof(EC, STATEMENT, NOW), EC.public_key(), STATEMENT, NOW + skew)


def test_its_time_is_signed() -> None:
    signature = sign_proof(EC, STATEMENT, NOW).partition(".")[2]
    with pytest.raises(ProofError):
        verify_proof(f"{NOW + 1}.{signature}", EC.public_key(), STATEMENT, NOW)


TAIL = "A" * 86


@pytest.mark.parametrize(
    "proof", ["", ".", f"{NOW}", f"{NOW}.", f"{NOW}.{TAIL}", f"{NOW}.{TAIL[1:]}", f"{NOW}.{'A' * 65}"]
)
@pytest.mark.parametrize("change", [lambda proof: proof, lambda proof: f"+{proof}", lambda proof: f"{proof}\n"])
def test_what_is_no_proof_is_refused(proof: str, change: Callable[[str], str]) -> None:
    with pytest.raises(ProofError):
        verify_proof(change(proof), EC.public_key(), STATEMENT, NOW)


@pytest.mark.parametrize("time", ["\u0661", f"0{NOW}", f"{NOW}_0", "9" * 13, f" {NOW}", "0x10"])
def test_a_time_is_written_in_one_way(time: str) -> None:
    signature = sign_proof(EC, STATEMENT, NOW).partition(".")[2]
    with pytest.raises(ProofError, match="malformed"):
        verify_proof(f"{time}.{signature}", EC.public_key(), STATEMENT, NOW)


def test_two_statements_are_never_signed_as_the_same_bytes() -> None:
    one = replace(STATEMENT, number=1, target="1:443")
    assert len({one.signed_bytes(NOW), STATEMENT.signed_bytes(NOW), STATEMENT.signed_bytes(NOW + 1)}) == 3


def test_only_keys_that_are_strong_enough_prove() -> None:
    assert can_prove(RSA.public_key())
    assert can_prove(EC.public_key())
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    assert not can_prove(weak.public_key())
    assert not can_prove(ed25519.Ed25519PrivateKey.generate().public_key())
