from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.control.failures import ApiError
from arcgate.control.paths import LONGEST_PATH, CaselessRoute, canonical_path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"//", "/"),
        (b"/a//b///c/", "/a/b/c"),
        (b"/a%20b", "/a b"),
        (b"/%C3%A4", "/ä"),
        (b"/...", "/..."),
        (b"/a..b", "/a..b"),
    ],
)
def test_one_thing_has_one_path(raw: bytes, path: str) -> None:
    assert canonical_path(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a",
        b"/..",
        b"/%2E%2e/a",
        b"/./a",
        b"/%2f",
        b"/%5C",
        b"/%00",
        b"/%7f",
        b"/%c2%85",
        b"/%ff",
        b"/%",
        b"/%zz",
        b"/\\",
        b"/ ",
        b"https://x/a",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        canonical_path(raw)
    assert caught.value.code == "InvalidRequestUri"


def test_a_path_has_an_end() -> None:
    with pytest.raises(ApiError) as caught:
        canonical_path(b"/" + b"a" * LONGEST_PATH)
    assert caught.value.status == 414


@given(st.binary())
def test_a_canonical_path_stays_as_it_is(raw: bytes) -> None:
    try:
        path = canonical_path(b"/" + raw)
    except ApiError:
        return
    assert canonical_path(quote(path).encode()) == path


def test_fixed_parts_compare_without_case_and_parameters_keep_theirs() -> None:
    route = CaselessRoute("/resourceGroups/{group}", lambda request: None)
    match = route.path_regex.match("/RESOURCEGROUPS/Rg")
    assert match is not None
    assert match["group"] == "Rg"
