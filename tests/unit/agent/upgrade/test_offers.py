"""Which package is for this machine."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.upgrade.offers import newest, order_of, parse_offers
from arcgate.core.errors import InputError
from arcgate.core.package_offers import Offer

SHA = "0" * 64
ORDERED = [
    "0.9.0",
    "1.0.0.dev1",
    "1.0.0a1",
    "1.0.0b1",
    "1.0.0rc1",
    "1.0.0rc2",
    "1.0.0",
    "1.0.1",
    "1.2",
    "1.10.0",
    "2.0.0",
]


def _offer(version: str, kind: str = "deb", machine: str = "x86_64", libc: str = "gnu") -> Offer:
    return Offer(f"azcmagent_{version}", version, kind, machine, libc, SHA)


def _document(**changes: Any) -> dict[str, Any]:
    good = {"name": "a.deb", "version": "1.0.0", "kind": "deb", "machine": "x86_64", "libc": "gnu", "sha256": SHA}
    return {**good, **changes}


def test_versions_are_ordered_by_number_and_stage() -> None:
    shuffled = random.Random(1).sample(ORDERED, len(ORDERED))
    assert sorted(shuffled, key=order_of) == ORDERED


def test_the_newest_of_the_machines_own_kind_is_chosen() -> None:
    offers = [_offer("1.2.0"), _offer("1.10.0"), _offer("2.0.0", kind="rpm"), _offer("3.0.0", machine="aarch64")]
    chosen = newest(offers, "deb", "x86_64", "gnu")
    assert chosen is not None
    assert chosen.version == "1.10.0"
    assert newest(offers, "apk", "x86_64", "musl") is None


@pytest.mark.parametrize(("wanted", "version"), [("1", "1.10.0"), ("1.2", "1.2.5"), ("1.2.0", "1.2.0"), ("1.1", None)])
def test_a_wanted_version_is_a_beginning_of_whole_numbers(wanted: str, version: str | None) -> None:
    offers = [_offer("1.2.0"), _offer("1.2.5"), _offer("1.10.0"), _offer("2.0.0")]
    chosen = newest(offers, "deb", "x86_64", "gnu", wanted)
    assert (chosen.version if chosen else None) == version


def test_what_is_no_version_is_an_input_error() -> None:
    for wanted in ("latest", "1.", "1.2;id", "\u0661.2"):
        with pytest.raises(InputError):
            newest([], "deb", "x86_64", "gnu", wanted)


@pytest.mark.parametrize(
    "document",
    [
        "text",
        {"name": 1},
        *(_document(name=name) for name in ("../a.deb", "/etc/passwd", "", "a/b")),
        *(_document(version=version) for version in ("1", "1.0.0\n", "$(id)")),
        *(_document(sha256=digest) for digest in ("", SHA.upper()[:-1], "A" * 64)),
    ],
)
def test_a_package_of_an_odd_form_is_left_out(document: Any) -> None:
    assert parse_offers({"packages": [document]}) == []


@pytest.mark.parametrize("document", [None, [], {}, {"packages": {}}])
def test_a_list_of_an_odd_form_is_an_input_error(document: Any) -> None:
    with pytest.raises(InputError):
        parse_offers(document)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_list_is_a_defect(document: Any) -> None:
    assert parse_offers({"packages": [document]}) == []
