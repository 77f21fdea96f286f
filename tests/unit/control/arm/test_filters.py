"""The $filter of lists: what ARM's clients write is read, all else is refused."""

import pytest

from arcgate.control.arm.filters import GROUP_FIELDS, RESOURCE_FIELDS, parse_filter
from arcgate.control.failures import ApiError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("resourceType eq 'Microsoft.HybridCompute/gateways'", {"resourcetype": "Microsoft.HybridCompute/gateways"}),
        ("resourceGroup eq 'g' and name eq 'n'", {"resourcegroup": "g", "name": "n"}),
        ("tagname eq 'who' AND tagvalue eq 'it''s me and you'", {"tagname": "who", "tagvalue": "it's me and you"}),
        ("  Name EQ ''  ", {"name": ""}),
    ],
)
def test_equalities_are_read(text: str, wanted: dict[str, str]) -> None:
    assert parse_filter(text, RESOURCE_FIELDS) == wanted


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1 eq 1",
            "name eq n",
            "name ne 'n'",
            "name eq 'n' or name eq 'm'",
            "name eq 'n' and",
            "name eq 'n' name eq 'm'",
        ),
        *(
            "name eq 'n' and name eq 'm'",
            "color eq 'red'",
            "tagvalue eq 'x'",
            "startswith(tagname, 'x')",
            "name eq 'it's'",
        ),
        *("tagname eq 'a\"b'", "tagname eq ''", "tagname eq 'a%'"),
    ],
)
def test_all_else_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_filter(text, RESOURCE_FIELDS)
    assert caught.value.code == "InvalidFilterInQueryString"


def test_groups_are_filtered_by_tags_alone() -> None:
    assert parse_filter("tagName eq 'a'", GROUP_FIELDS) == {"tagname": "a"}
    with pytest.raises(ApiError):
        parse_filter("name eq 'a'", GROUP_FIELDS)
