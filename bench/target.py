"""The target of the benchmark: a TCP service that looks like TLS 1.3 and sends, takes or echoes. Not a product part.

After the hellos the client says in one record what it wants: `D n` n pieces, `U n` it will send n pieces, `E` an echo.
"""

import contextlib
import socket
import sys
import threading

from records import CLIENT_HELLO, PIECE, SERVER_HELLO, application_data


def serve(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError, ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_exactly(connection, len(CLIENT_HELLO))
        connection.sendall(SERVER_HELLO + application_data(b"finished"))
        header = read_exactly(connection, 5)
        word, _, count = read_exactly(connection, int.from_bytes(header[3:], "big")).decode().partition(" ")
        if word == "D":
            for _ in range(int(count)):
                connection.sendall(PIECE)
        elif word == "U":
            buffer, left = bytearray(len(PIECE)), int(count) * len(PIECE)
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
            connection.sendall(application_data(b"k"))
        while data := connection.recv(65_536):
            connection.sendall(data)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("the connection ended early")
        data += piece
    return data


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
