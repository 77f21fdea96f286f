"""api-version negotiation: every well-formed date is answered, like the nearest version that we know. Pure.

Clients send dates that nobody published, so an unknown date is no reason to refuse; a missing or malformed
one is, in ARM's words.
"""

import re
from collections.abc import Sequence
from datetime import date

from arcgate.control.failures import ApiError

HYBRID_COMPUTE = (
    "2026-07-15",
    "2026-06-16-preview",
    "2025-09-16-preview",
    "2025-08-21-preview",
    "2025-06-19-preview",
    "2025-06-01",
    "2025-02-19-preview",
    "2025-01-13",
    "2024-11-10-preview",
    "2024-09-10-preview",
    "2024-07-31-preview",
    "2024-07-10",
    "2024-05-20-preview",
    "2024-03-31-preview",
    "2019-03-18-preview",
)
RESOURCES = ("2025-04-01", "2024-11-01", "2022-12-01", "2022-09-01", "2021-04-01", "2016-02-01")
AUTHORIZATION = ("2022-04-01", "2018-01-01-preview", "2015-07-01")
ARCGATE = ("2026-11-01",)

_VERSION = re.compile(r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})(?:-(?:preview|alpha|beta))?\Z")


def negotiate(values: Sequence[str], known: Sequence[str] = HYBRID_COMPUTE) -> str:
    """Return the known version nearest to the one asked for; raises ApiError when none or a malformed one is."""
    if not any(values):
        raise ApiError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if len({value.lower() for value in values}) > 1:
        raise _invalid(", ".join(values))
    asked = values[0].lower()
    day = _day(asked)
    if asked in known:
        return asked
    return min(known, key=lambda version: abs((_day(version) - day).days))


def _day(text: str) -> date:
    match = _VERSION.match(text)
    if match is None:
        raise _invalid(text)
    try:
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        raise _invalid(text) from None


def _invalid(text: str) -> ApiError:
    return ApiError(
        400,
        "InvalidApiVersionParameter",
        f"The api-version {text[:60]!a} is invalid.",
        remedy="Write one date, YYYY-MM-DD or YYYY-MM-DD-preview.",
    )
