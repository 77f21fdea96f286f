"""Reads urlencoded forms, each field once, and tells where a request came from."""

import re
from urllib.parse import parse_qsl

from starlette.requests import Request

from arcgate.control.login.failures import GrantError
from arcgate.control.login.throttle import ADDRESS_LIMIT, SHARED_ADDRESS_LIMIT

MOST_FIELDS = 50

_OWN_ADDRESSES = frozenset({"127.0.0.1", "::1", "unknown"})
_TEXT = re.compile(rb"[!-~\s]*\Z")


def read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form; raises GrantError (invalid_request) for a malformed or repeated one."""
    if not _TEXT.match(body):
        raise _invalid("it holds bytes that no form has")
    try:
        pairs = parse_qsl(
            body.decode("ascii").strip(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise _invalid("it is not a urlencoded form in UTF-8") from None
    if b"%00" in body:
        raise _invalid("it holds a NUL character")
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _invalid("a field stands more than once")
    return form


def address_limit(address: str) -> int:
    """Return how many failures an address may have; our own front end, on this host, speaks for everybody."""
    return SHARED_ADDRESS_LIMIT if address in _OWN_ADDRESSES else ADDRESS_LIMIT


def client_address(request: Request) -> str:
    """Return the address that the request came from."""
    return request.client.host if request.client is not None else "unknown"


def _invalid(cause: str) -> GrantError:
    return GrantError("invalid_request", f"AADSTS900144: The request body is malformed: {cause}.")
