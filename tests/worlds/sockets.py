"""Connected sockets on loopback, and what services of tests do with them."""

import socket

from arcgate.net.streams import ByteStream


def connected_sockets(family: socket.AddressFamily = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection, in blocking mode."""
    with socket.socket(family) as listening:
        listening.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        listening.listen()
        client = socket.create_connection(listening.getsockname()[:2])
        server, _ = listening.accept()
    return client, server


async def echo(stream: ByteStream) -> None:
    """Send back what comes, and end when it ends."""
    while data := await stream.receive():
        await stream.send(data)
    await stream.end()
