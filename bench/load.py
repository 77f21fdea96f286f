"""The load: tunnels through a proxy (or straight to the target), timed. One process, blocking sockets, threads."""

import socket
import statistics
import threading
import time
from dataclasses import dataclass

from records import CLIENT_HELLO, PIECE, SERVER_HELLO, application_data
from target import read_exactly

Address = tuple[str, int]
GREETING = len(SERVER_HELLO + application_data(b"finished"))


@dataclass(frozen=True)
class Path:
    """How to reach the target: through an HTTP proxy, or directly when there is none."""

    proxy: Address | None
    target: Address

    def open(self) -> socket.socket:
        """Return a connection whose next byte goes to the target."""
        connection = socket.create_connection(self.proxy or self.target, timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.proxy is not None:
            authority = f"{self.target[0]}:{self.target[1]}"
            connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                data = connection.recv(4096)
                if not data:
                    raise ConnectionError("the proxy closed the connection")
                head += data
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise ConnectionError(head.decode("latin-1"))
        return connection


def bulk(path: Path, direction: str, tunnels: int, mib: int) -> float:
    """Return GiB per second of `tunnels` at once, each carrying `mib` pieces of about a MiB."""
    ready = threading.Barrier(tunnels + 1)
    threads = [threading.Thread(target=_carry, args=(path, direction, mib, ready)) for _ in range(tunnels)]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return tunnels * mib * len(PIECE) / 2**30 / (time.perf_counter() - begun)


def _carry(path: Path, direction: str, pieces: int, ready: threading.Barrier) -> None:
    with path.open() as connection:
        _greet(connection)
        ready.wait()
        if direction == "down":
            connection.sendall(application_data(f"D {pieces}".encode()))
            buffer, left = bytearray(len(PIECE)), pieces * len(PIECE)
            while left:
                got = connection.recv_into(buffer, min(left, len(buffer)))
                if not got:
                    raise ConnectionError("the tunnel ended early")
                left -= got
        else:
            connection.sendall(application_data(f"U {pieces}".encode()))
            for _ in range(pieces):
                connection.sendall(PIECE)
            read_exactly(connection, 6)


def _greet(connection: socket.socket) -> None:
    """Exchange what looks like hellos."""
    connection.sendall(CLIENT_HELLO)
    read_exactly(connection, GREETING)


def set_up(path: Path) -> float:
    """Return the seconds from connecting until the target's first bytes are back."""
    begun = time.perf_counter()
    with path.open() as connection:
        _greet(connection)
        return time.perf_counter() - begun


def set_up_times(path: Path, count: int) -> tuple[float, float]:
    """Return median and 99th percentile of `count` set-ups one after the other, in milliseconds."""
    times = sorted(set_up(path) * 1000 for _ in range(count))
    return statistics.median(times), times[int(len(times) * 0.99)]


def set_up_rate(path: Path, count: int, at_once: int = 64) -> float:
    """Return set-ups per second with `at_once` in flight."""
    left = [count]
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if left[0] == 0:
                    return
                left[0] -= 1
            set_up(path)

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - begun)


def hold_idle(path: Path, count: int) -> list[socket.socket]:
    """Return `count` open tunnels, each used once."""
    held = []
    for _ in range(count):
        connection = path.open()
        _greet(connection)
        held.append(connection)
    return held
