"""What a gateway node reports of itself."""

import re
from collections.abc import Mapping
from typing import Any

from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.store.models import Node
from arcgate.core.audit import printable

MOST_LISTENERS = 64

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}\Z")


async def keep_report(context: ControlContext, document: Mapping[str, Any]) -> None:
    """Write the node's last report in place of the one before; raises ApiError 400 on wrong types."""
    name = document.get("node")
    if not isinstance(name, str) or not _NAME.match(name):
        raise _wrong("node", "a host name")
    version = document.get("version", "")
    if not isinstance(version, str):
        raise _wrong("version", "a string")
    row = Node(
        name=name,
        version=printable(version, 50),
        revision=_count(document, "revision", 2**53),
        open_tunnels=_count(document, "openTunnels", 2**31 - 1),
        listen=_listeners(document.get("listen", [])),
        time=context.clock(),
    )
    async with context.store.write() as transaction:
        await transaction.session.merge(row)


def _count(document: Mapping[str, Any], name: str, most: int) -> int:
    value = document.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _wrong(name, "a whole number")
    return value


def _listeners(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > MOST_LISTENERS or not all(isinstance(one, str) for one in values):
        raise _wrong("listen", "a list of addresses")
    return [printable(one, 100) for one in values]


def _wrong(name: str, expected: str) -> ApiError:
    return ApiError(400, "InvalidRequestContent", f"The value of '{name}' must be {expected}.", target=name)
