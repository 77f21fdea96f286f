"""Long polls: which revision a request already has, and how long it is willing to wait for a newer one."""

import re

from starlette.requests import Request

from arcgate.control.failures import ApiError

LONGEST_WAIT = 55
"""Seconds; proxies commonly cut a silent connection after 60."""

_REVISION = re.compile(r"[0-9]{1,15}\Z", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,4}\Z", re.ASCII)


def read_wait(request: Request) -> tuple[int, float]:
    """Return `after` (a revision, 0 without one) and `wait` (seconds, bounded); raises ApiError 400."""
    after, wait = (request.query_params.get(name, "0") for name in ("after", "wait"))
    if not _REVISION.match(after) or not _SECONDS.match(wait):
        raise ApiError(400, "InvalidParameter", "'after' and 'wait' must be whole numbers of a sensible size.")
    return int(after), float(min(int(wait), LONGEST_WAIT))
