"""Lists in pages: what the caller may see, in the order of resource ids, with an absolute nextLink."""

import base64
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from sqlalchemy import ColumnElement, Select, false, or_
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse

from arcgate.control.arm.endpoint import Call
from arcgate.control.arm.roles import is_within
from arcgate.control.failures import ApiError

PAGE = 200
"""Items of a page unless $top says otherwise."""
LARGEST_PAGE = 1000

_TOP = re.compile(r"[1-9][0-9]{0,8}\Z")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,2000}\Z")

Row = TypeVar("Row")


async def page_of(
    call: Call, session: AsyncSession, statement: Select[Row], key: Any, render: Callable[[Row], dict[str, Any]]
) -> JSONResponse:
    """Return one page of the statement's rows after the client's $skipToken; `key` is a unique text column."""
    size = page_size(call)
    if token := call.option("$skiptoken"):
        statement = statement.where(key > read_token(token))
    rows = list((await session.execute(statement.order_by(key).limit(size + 1))).scalars())
    page: dict[str, Any] = {"value": [render(row) for row in rows[:size]]}
    if len(rows) > size:
        page["nextLink"] = next_link(call, make_token(getattr(rows[size - 1], key.key)))
    return JSONResponse(page)


def page_size(call: Call) -> int:
    """Return the number of items of a page; raises ApiError 400 for a $top that is no positive number."""
    text = call.option("$top")
    if not text:
        return PAGE
    if not _TOP.match(text):
        raise ApiError(400, "InvalidQueryParameter", "The query parameter $top must be a number of at least 1.")
    return min(int(text), LARGEST_PAGE)


def next_link(call: Call, token: str) -> str:
    """Return the absolute URL of the page after the token, with the query of this one."""
    pairs = [(name, value) for name, values in call.query.items() for value in values if name != "$skiptoken"]
    pairs.append(("$skipToken", token))
    return f"{call.base}{quote(call.request.url.path)}?{urlencode(pairs, safe='$', quote_via=quote)}"


def make_token(position: str) -> str:
    """Return the $skipToken that stands for a position in the list."""
    return base64.urlsafe_b64encode(position.encode()).decode("ascii").rstrip("=")


def read_token(token: str) -> str:
    """Return the position that a $skipToken stands for; raises ApiError 400. A forged one only skips rows."""
    try:
        if not _TOKEN.match(token):
            raise ValueError
        position = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("utf-8")
        if "\0" in position:
            raise ValueError
    except ValueError:
        raise ApiError(400, "InvalidSkipToken", "The query parameter $skipToken is not one that we gave.") from None
    return position


def visible(call: Call, action: str, key: Any, scope: str) -> ColumnElement[bool] | None:
    """Return the condition on lower-case ids that leaves what the caller may see; None: everything."""
    if call.caller.permits(action, scope):
        return None
    inner = [one.scope for one in call.caller.assignments if is_within(one.scope, scope) and one.role.permits(action)]
    conditions = [condition for one in inner for condition in (key == one, key.startswith(f"{one}/", autoescape=True))]
    return or_(*conditions) if conditions else false()
