import pytest

from arcgate.control.arm.endpoint import validated
from arcgate.control.arm.fields import ResourceBody, location_title, require_location, require_name
from arcgate.control.failures import ApiError
from arcgate.core.configuration import Configuration


@pytest.mark.parametrize("name", ["a", "gw-1", "gw_1.x", "A" * 90])
def test_good_names_stay_as_they_are(name: str) -> None:
    assert require_name(name, "gateway") == name


def test_groups_may_have_parentheses() -> None:
    assert require_name("rg(1)", "resource group") == "rg(1)"
    with pytest.raises(ApiError):
        require_name("gw(1)", "gateway")


@pytest.mark.parametrize("name", ["", ".", "..", "a.", ".a", "a b", "a/b", "ä", "a\n", "A" * 91])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        require_name(name, "gateway")
    assert caught.value.code == "InvalidResourceName"


def test_locations_lose_their_spaces_and_case() -> None:
    assert require_location("West Europe", Configuration()) == "westeurope"
    assert require_location(None, Configuration(), "eastus") == "eastus"
    assert location_title("eastus") == "East US"
    assert location_title("local") == "local"


@pytest.mark.parametrize(
    "document",
    [
        {"tags": {"a": 1}},
        {"tags": {"a": "1", "A": "2"}},
        {"tags": {"a/b": "1"}},
        {"tags": {"a": "x" * 257}},
        {"other": 1},
    ],
)
def test_bad_envelopes_are_refused_with_their_place(document: dict[str, object]) -> None:
    with pytest.raises(ApiError) as caught:
        validated(ResourceBody, document)
    assert caught.value.status == 400
    assert caught.value.target.split(".")[0] in document
    assert caught.value.details
