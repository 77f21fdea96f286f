import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.control.bodies import DEEPEST, parse_json, without_nul
from arcgate.control.failures import ApiError

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(DOCUMENTS)
def test_every_plain_document_is_read_as_it_is(document: Any) -> None:
    for ascii_only in (True, False):
        assert parse_json(json.dumps(document, ensure_ascii=ascii_only).encode()) == document


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(ApiError):  # any other error fails the test
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{'a': 1}",
        b'{"a":1,"a":1}',
        b'[{"b":{"a":1,"a":2}}]',
        b"NaN",
        b"-Infinity",
        b"1e400",
        b"1" * 41,
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b"[1] x",
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_has_more_than_one_reading_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_json(body)
    assert caught.value.code == "InvalidRequestContent"


def test_nesting_ends_somewhere() -> None:
    assert parse_json(b"[" * DEEPEST + b"]" * DEEPEST)
    with pytest.raises(ApiError):
        parse_json(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))
    with pytest.raises(ApiError):
        parse_json(b"[" * 100_000)


def test_pairs_of_surrogates_are_characters() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("text", ["\0", "a\0b", "\\\0", "\\\\\0\\u0000"])
def test_nul_is_refused_wherever_it_stands(text: str) -> None:
    for document in ({"a": text}, {text: 1}, {"a": [{"b": [text]}]}):
        with pytest.raises(ApiError) as caught:
            without_nul(document)
        assert caught.value.code == "InvalidRequestContent"


@pytest.mark.parametrize("text", ["", "\\u0000", "\\\\u0000", "\x01", "u0000"])
def test_what_only_looks_like_nul_is_taken(text: str) -> None:
    assert without_nul({"a": text, text: "a"})
