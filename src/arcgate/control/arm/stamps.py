"""Who wrote a resource and when (systemData), its version (ETag), and the preconditions on that version."""

import re
from typing import Any

from arcgate.control.arm.endpoint import Call
from arcgate.control.failures import ApiError
from arcgate.control.store.models import Stamps

_ETAG_LIST = re.compile(r'(?:\*|(?:W/)?"[!#-~]*"(?:\s*,\s*(?:W/)?"[!#-~]*")*)\Z')


def stamp_new(row: Stamps, call: Call) -> None:
    """Note the caller as the maker of a new row."""
    row.created_by = row.modified_by = call.caller.name
    row.created_by_type = row.modified_by_type = call.caller.created_by_type
    row.created_at = row.modified_at = call.context.clock()
    row.version = 1


def stamp_change(row: Stamps, call: Call) -> None:
    """Note the caller as the last who changed the row."""
    row.modified_by = call.caller.name
    row.modified_by_type = call.caller.created_by_type
    row.modified_at = call.context.clock()
    row.version += 1


def etag_of(row: Stamps) -> str:
    """Return the entity tag of a row's present version."""
    return f'"{row.version:08x}-{int(row.created_at.timestamp() * 1000):x}"'


def system_data(row: Stamps) -> dict[str, Any]:
    """Return ARM's systemData."""
    return {
        "createdBy": row.created_by,
        "createdByType": row.created_by_type,
        "createdAt": row.created_at.isoformat(),
        "lastModifiedBy": row.modified_by,
        "lastModifiedByType": row.modified_by_type,
        "lastModifiedAt": row.modified_at.isoformat(),
    }


def check_preconditions(call: Call, row: Stamps | None) -> None:
    """Raise ApiError 412 when If-Match or If-None-Match speaks against the row (None: it doesn't exist)."""
    headers = call.request.headers
    wanted, unwanted = headers.get("if-match"), headers.get("if-none-match")
    for text in (wanted, unwanted):
        if text is not None and not _ETAG_LIST.match(text.strip()):
            raise ApiError(400, "InvalidHeaderValue", "An If-Match or If-None-Match header is malformed.")
    if wanted is not None and not _names(wanted, row):
        raise ApiError(412, "PreconditionFailed", "The resource does not have the version that If-Match names.")
    if unwanted is not None and _names(unwanted, row):
        raise ApiError(412, "PreconditionFailed", "The resource has the version that If-None-Match excludes.")


def _names(text: str, row: Stamps | None) -> bool:
    if row is None:
        return False
    if text.strip() == "*":
        return True
    # A weak tag never matches: these conditions compare strongly (RFC 9110 section 13.1.1).
    return etag_of(row) in [tag.strip() for tag in text.split(",")]
