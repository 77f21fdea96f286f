"""Listening sockets on the machine's loopback addresses, for services that serve this machine alone."""

import socket

import structlog

from arcgate.core.errors import StateError
from arcgate.net.listener import has_ipv6_loopback, listen

_log = structlog.get_logger(__name__)


def open_sockets(port: int) -> list[socket.socket]:
    """Return listening sockets on both loopback addresses; raises StateError (LISTEN_FAILED) if one is taken."""
    sockets = [listen("127.0.0.1", port)]
    if not has_ipv6_loopback():
        _log.warning("this host has no ::1, 127.0.0.1 alone is listened on")
        return sockets
    try:
        sockets.append(listen("::1", int(sockets[0].getsockname()[1])))
    except StateError:
        sockets[0].close()
        raise
    return sockets
