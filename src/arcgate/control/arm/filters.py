"""The $filter of lists of resources and groups: equalities joined by `and`, as ARM's clients write them."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func

from arcgate.control.failures import ApiError

RESOURCE_FIELDS = frozenset({"resourcetype", "resourcegroup", "name", "location", "tagname", "tagvalue"})
GROUP_FIELDS = frozenset({"tagname", "tagvalue"})

_CLAUSE = r"[A-Za-z]{1,30}\s+eq\s+'(?:[^']|'')*'"
_FILTER = re.compile(rf"\s*{_CLAUSE}(?:\s+and\s+{_CLAUSE})*\s*\Z", re.IGNORECASE)
_EQUALITY = re.compile(r"([A-Za-z]{1,30})\s+eq\s+'((?:[^']|'')*)'", re.IGNORECASE)
_TAG_NAME = re.compile(r"[^<>%&\\?/\x00-\x1f\x7f\"]{1,512}\Z")


def parse_filter(text: str, fields: frozenset[str]) -> Mapping[str, str]:
    """Return what the fields (in lower case) must equal; raises ApiError 400 (InvalidFilterInQueryString)."""
    if not text:
        return {}
    pairs = _EQUALITY.findall(text) if _FILTER.match(text) else []
    wanted = {name.lower(): value.replace("''", "'") for name, value in pairs}
    misused = not pairs or len(wanted) != len(pairs) or not set(wanted) <= fields
    if misused or ("tagvalue" in wanted and "tagname" not in wanted):
        raise _refusal(fields)
    if "tagname" in wanted and not _TAG_NAME.match(wanted["tagname"]):
        raise _refusal(fields)
    return wanted


def tag_conditions(wanted: Mapping[str, str], tags: Any) -> list[ColumnElement[bool]]:
    """Return the conditions on a column of tags that a filter makes."""
    if "tagname" not in wanted:
        return []
    value = tags[wanted["tagname"]].as_string()
    return [value == wanted["tagvalue"] if "tagvalue" in wanted else value.is_not(None)]


def caseless(column: Any, value: str) -> ColumnElement[bool]:
    """Return the condition that a column of ASCII names equals the value, without case."""
    condition: ColumnElement[bool] = func.lower(column) == value.lower()
    return condition


def _refusal(fields: frozenset[str]) -> ApiError:
    names = ", ".join(sorted(fields))
    text = "The $filter is not supported."
    return ApiError(
        400,
        "InvalidFilterInQueryString",
        text,
        remedy=f"Join equalities such as NAME eq 'VALUE' by 'and'; names: {names}.",
    )
