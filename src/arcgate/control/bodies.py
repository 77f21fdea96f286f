"""Reads request bodies: bounded in size, and JSON of which there is one reading only.

Duplicate keys, NaN, huge numbers, lone surrogates and bottomless nesting are refused: two parsers would see
different things in them, or one would stop for breath.
"""

import asyncio
import json
import re
from typing import Any, NoReturn

from starlette.requests import Request

from arcgate.control.failures import ApiError

DEEPEST = 64
"""Levels of nesting in a JSON body."""
BODY_TIMEOUT = 60
"""Seconds for a body to arrive."""
LONGEST_NUMBER = 40
"""Characters of a number in a JSON body."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""U+0000 in the text that json.dumps makes."""
_LENGTH = re.compile(r"[0-9]{1,12}\Z")
_JSON_TYPE = re.compile(
    r"(?:application/(?:[a-z0-9.+-]+\+)?json|text/json)\s*(?:;\s*(?:charset=\"?utf-8\"?|(?!charset)[a-z-]+=[a-z0-9.-]+)\s*)*\Z",
    re.IGNORECASE,
)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body; raises ApiError 413 as soon as it is known to have more than `limit` bytes."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ApiError(415, "UnsupportedMediaType", "The body has a Content-Encoding, which is not supported.")
    declared = request.headers.get("content-length", "0")
    if not _LENGTH.match(declared) or int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await _receive(request, limit)
    except TimeoutError:
        text = f"The body did not arrive within {BODY_TIMEOUT} seconds."
        raise ApiError(408, "RequestTimeout", text, headers={"Connection": "close"}) from None


async def _receive(request: Request, limit: int) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            raise _too_large(limit)
    return bytes(received)


async def read_json_object(request: Request, limit: int, *, required: bool = True) -> dict[str, Any]:
    """Return the JSON object in the body ({} for none, unless required); raises ApiError 400, 413 or 415."""
    content_type = request.headers.get("content-type", "application/json")
    if not _JSON_TYPE.match(content_type.strip()):
        raise ApiError(
            415, "UnsupportedMediaType", f"The content type {content_type[:80]!a} is not supported; send JSON in UTF-8."
        )
    body = await read_body(request, limit)
    if not body and not required:
        return {}
    document = parse_json(body)
    if not isinstance(document, dict):
        raise _invalid("the body must be a JSON object")
    return document


def parse_json(body: bytes) -> Any:
    """Return the JSON document; raises ApiError 400 (InvalidRequestContent)."""
    if not body.strip():
        raise _invalid("the body is empty")
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except RecursionError:
        raise _invalid("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise _invalid("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _invalid(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    _require_shallow(document)
    if b"\\u" in body:
        _require_whole_characters(document)
    return document


def without_nul(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document; raises ApiError 400 when a text in it holds U+0000, which not every database keeps."""
    if _NUL.search(json.dumps(document)):
        raise _invalid("a text holds the character U+0000")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _invalid(f"the key {key[:60]!a} stands twice")
            seen.add(key)
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise _invalid(f"{text} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise _invalid("a number has too many digits")
    return int(text)


def _float(text: str) -> float:
    if len(text) > LONGEST_NUMBER or (number := float(text)) in (float("inf"), float("-inf")):
        raise _invalid("a number is too large")
    return number


def _require_shallow(document: Any) -> None:
    level = [document]
    for _ in range(DEEPEST):
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise _invalid("it is nested too deeply")


def _children(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _require_whole_characters(document: Any) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _invalid("a \\u escape is half of a surrogate pair") from None


def _invalid(cause: str) -> ApiError:
    return ApiError(400, "InvalidRequestContent", f"The request content was invalid and could not be read: {cause}.")


def _too_large(limit: int) -> ApiError:
    # The rest of the body is not read, so the connection can't be used again.
    return ApiError(
        413,
        "RequestEntityTooLarge",
        f"The request body is larger than {limit} bytes.",
        headers={"Connection": "close"},
    )
