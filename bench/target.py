"""The target of the benchmark: a TCP service that sends, takes or echoes bytes as it is told. Not a product part.

A connection begins with one line: `D n` sends n bytes, `U n` takes n bytes and answers `k`, `E` echoes.
"""

import contextlib
import socket
import sys
import threading

PIECE = bytes(1024 * 1024)


def serve(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = b""
        while not line.endswith(b"\n"):
            data = connection.recv(1)
            if not data:
                return
            line += data
        word, _, count = line.decode().strip().partition(" ")
        if word == "D":
            left = int(count)
            while left:
                piece = PIECE[: min(left, len(PIECE))]
                connection.sendall(piece)
                left -= len(piece)
        elif word == "U":
            buffer, left = bytearray(len(PIECE)), int(count)
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
            connection.sendall(b"k")
        while data := connection.recv(65_536):
            connection.sendall(data)


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
