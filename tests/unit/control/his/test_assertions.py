"""Machines' assertions: which are accepted, and what is said of those that are not."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from arcgate.control.his.assertions import (
    Assertion,
    ClockSkewError,
    ReplayCache,
    bearer_token,
    server_time,
    verify_assertion,
)
from arcgate.core.errors import InputError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MOMENT = int(NOW.timestamp())
MACHINE = "22222222-2222-4222-8222-222222222222"
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())
JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.text(max_size=3))


def claims(**changes: Any) -> dict[str, Any]:
    usual = {"iss": MACHINE, "sub": MACHINE, "aud": "arcgate-his", "iat": MOMENT, "exp": MOMENT + 120, "jti": "a" * 16}
    return {key: value for key, value in {**usual, **changes}.items() if value is not None}


def sign(content: dict[str, Any], key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = KEY, **header: Any) -> str:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    algorithm = header.pop("alg", "RS256" if is_rsa else "ES256")
    jose_key = RSAKey.import_key(pem) if is_rsa else ECKey.import_key(pem)
    return jwt.encode({"alg": algorithm, "kid": MACHINE, **header}, content, jose_key, algorithms=[algorithm])


def encoded(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def refused(token: str, key: Any = None) -> str:
    with pytest.raises(InputError) as raised:
        verify_assertion(token, MACHINE, key or KEY.public_key(), NOW)
    assert raised.value.code == "AssertionInvalid"
    return raised.value.cause


def test_an_assertion_by_the_registered_key_is_accepted() -> None:
    found = verify_assertion(sign(claims()), MACHINE, KEY.public_key(), NOW)
    assert found == Assertion(MACHINE, "a" * 16, MOMENT + 120)


def test_an_elliptic_key_signs_by_es256() -> None:
    found = verify_assertion(sign(claims(), CURVE_KEY), MACHINE, CURVE_KEY.public_key(), NOW)
    assert found.machine_id == MACHINE


def test_another_machines_key_is_refused() -> None:
    assert "signature" in refused(sign(claims(), OTHER_KEY))


def test_another_algorithm_of_the_same_key_is_refused() -> None:
    assert "signature" in refused(sign(claims(), alg="PS256"))


def test_the_algorithm_none_is_refused() -> None:
    token = f"{encoded({'alg': 'none', 'kid': MACHINE})}.{encoded(claims())}."
    refused(token)
    refused(token + "AA")


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_the_public_key_used_as_a_shared_secret_is_refused(form: PublicFormat) -> None:
    secret = KEY.public_key().public_bytes(Encoding.PEM, form)
    signed = f"{encoded({'alg': 'HS256', 'kid': MACHINE})}.{encoded(claims())}"
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    refused(f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}")


def test_an_elliptic_assertion_does_not_pass_for_an_rsa_machine() -> None:
    refused(sign(claims(), CURVE_KEY))


@pytest.mark.parametrize("audience", ["arcgate-node", "", ["arcgate-his"], None])
def test_another_audience_is_refused(audience: Any) -> None:
    assert "audience" in refused(sign(claims(aud=audience)))


@pytest.mark.parametrize("change", [{"iss": "x"}, {"sub": "x"}, {"iss": None}, {"sub": [MACHINE]}])
def test_another_subject_is_refused(change: dict[str, Any]) -> None:
    assert "subject" in refused(sign(claims(**change)))


def test_another_kid_is_refused() -> None:
    assert "kid" in refused(sign(claims(), kid="../../etc/passwd"))


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 86_400])
def test_a_clock_too_far_away_is_named_with_the_servers_time(seconds: int) -> None:
    with pytest.raises(ClockSkewError) as raised:
        verify_assertion(sign(claims(iat=MOMENT + seconds, exp=MOMENT + seconds + 60)), MACHINE, KEY.public_key(), NOW)
    assert raised.value.code == "ClockSkew"
    assert server_time(raised.value.server_time) == "2026-11-23T12:00:00Z"


@pytest.mark.parametrize("seconds", [-299, 0, 300])
def test_a_clock_a_little_off_is_accepted(seconds: int) -> None:
    issued = MOMENT + seconds
    token = sign(claims(iat=issued, exp=issued + 300))
    assert verify_assertion(token, MACHINE, KEY.public_key(), NOW).expires == issued + 300


@pytest.mark.parametrize(
    "change",
    [
        {"exp": MOMENT + 301},
        {"exp": MOMENT},
        {"exp": MOMENT - 1},
        {"exp": None},
        {"iat": None},
        {"iat": str(MOMENT)},
        {"iat": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"iat": MOMENT - 200, "exp": MOMENT - 1},
    ],
)
def test_times_that_are_missing_too_long_or_no_numbers_are_refused(change: dict[str, Any]) -> None:
    refused(sign(claims(**change)))


@pytest.mark.parametrize("identifier", [None, "", "short", "x" * 129, "line\nbreak-in-it", 12345678, "snow☃☃☃☃☃"])
def test_a_missing_or_malformed_identifier_is_refused(identifier: Any) -> None:
    assert "jti" in refused(sign(claims(jti=identifier)))


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d.e", "a.b.c\n", "☃.b.c", "A" * 5000 + ".b.c", "e30.e30.e30"])
def test_what_is_no_token_is_refused(token: str) -> None:
    refused(token)


def test_a_deeply_nested_payload_is_refused() -> None:
    refused(f"{encoded({'alg': 'RS256', 'kid': MACHINE})}.{'W1tb' * 600}.AAAA")


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc", "Bearer a b", "Bearer " + "a" * 9000, "Bearer a,b"])
def test_a_header_without_bearer_token_is_refused(header: str) -> None:
    with pytest.raises(InputError) as raised:
        bearer_token(header)
    assert raised.value.code == "AssertionInvalid"


def test_the_scheme_is_read_in_any_case() -> None:
    assert bearer_token("bearer a.b.c") == "a.b.c"


def test_a_replayed_assertion_is_refused() -> None:
    cache = ReplayCache()
    cache.accept(Assertion(MACHINE, "one-identifier", MOMENT + 60), NOW)
    with pytest.raises(InputError) as raised:
        cache.accept(Assertion(MACHINE, "one-identifier", MOMENT + 60), NOW)
    assert raised.value.code == "AssertionInvalid"
    cache.accept(Assertion("another machine", "one-identifier", MOMENT + 60), NOW)


def test_a_machine_that_fills_its_share_waits_until_its_assertions_expire() -> None:
    cache = ReplayCache(most_each=3)
    for number in range(3):
        cache.accept(Assertion(MACHINE, f"identifier-{number}", MOMENT), datetime.fromtimestamp(MOMENT - 60, UTC))
    with pytest.raises(InputError) as raised:
        cache.accept(Assertion(MACHINE, "identifier-3", MOMENT + 60), datetime.fromtimestamp(MOMENT - 60, UTC))
    assert raised.value.code == "TooManyRequests"
    cache.accept(Assertion("another machine", "identifier-0", MOMENT + 60), NOW)
    cache.accept(Assertion(MACHINE, "identifier-3", MOMENT + 60), NOW)


def test_the_cache_forgets_the_machines_that_were_quiet_longest() -> None:
    cache = ReplayCache(most_machines=2)
    for name in ("first", "second", "third"):
        cache.accept(Assertion(name, "identifier", MOMENT + 60), NOW)
    cache.accept(Assertion("first", "identifier", MOMENT + 60), NOW)
    with pytest.raises(InputError):
        cache.accept(Assertion("third", "identifier", MOMENT + 60), NOW)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda data: f"Bearer {data.hex()}.{data.hex()}.AA"))
def test_no_header_whatsoever_crashes_the_service(header: str) -> None:
    with pytest.raises(InputError):
        verify_assertion(bearer_token(header), MACHINE, KEY.public_key(), NOW)


@given(st.dictionaries(st.sampled_from(["iss", "sub", "aud", "iat", "exp", "jti"]), JSON, min_size=1))
def test_no_claim_whatsoever_crashes_the_service(changes: dict[str, Any]) -> None:
    content = {**claims(), **changes}
    try:
        found = verify_assertion(sign(content), MACHINE, KEY.public_key(), NOW)
    except InputError:
        return
    assert content["iss"] == content["sub"] == found.machine_id
    assert content["aud"] == "arcgate-his"
