"""How long a TCP connection has brought nothing, as the kernel knows it, which carries some tunnels' bytes itself."""

import math
import socket
import struct

_LAST_DATA_RECEIVED = struct.Struct("=52xI")
"""Of tcp_info (linux/tcp.h): tcpi_last_data_recv, in milliseconds."""


def silence_of(connected: socket.socket) -> float:
    """Return the seconds since the last byte came: 0 while some wait to be read, infinite where nothing will come."""
    try:
        return 0.0 if connected.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) else math.inf
    except BlockingIOError:
        pass
    except OSError:
        return math.inf
    try:
        facts = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
    except OSError:
        return math.inf
    return _LAST_DATA_RECEIVED.unpack(facts)[0] / 1000 if len(facts) == _LAST_DATA_RECEIVED.size else math.inf
