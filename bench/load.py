"""The load: tunnels through a proxy (or straight to the target), timed. One process, blocking sockets, threads."""

import socket
import statistics
import threading
import time
from dataclasses import dataclass

Address = tuple[str, int]
MIB = 1024 * 1024


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
    """Return GiB per second of `tunnels` at once, each carrying `mib` MiB."""
    ready = threading.Barrier(tunnels + 1)
    threads = [threading.Thread(target=_carry, args=(path, direction, mib * MIB, ready)) for _ in range(tunnels)]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return tunnels * mib / 1024 / (time.perf_counter() - begun)


def _carry(path: Path, direction: str, size: int, ready: threading.Barrier) -> None:
    with path.open() as connection:
        ready.wait()
        if direction == "down":
            connection.sendall(f"D {size}\n".encode())
            buffer, left = bytearray(MIB), size
            while left:
                got = connection.recv_into(buffer, min(left, MIB))
                if not got:
                    raise ConnectionError("the tunnel ended early")
                left -= got
        else:
            connection.sendall(f"U {size}\n".encode())
            piece = bytes(MIB)
            for _ in range(size // MIB):
                connection.sendall(piece)
            if connection.recv(1) != b"k":
                raise ConnectionError("the tunnel ended early")


def set_up(path: Path) -> float:
    """Return the seconds from connecting until the target's first byte is back."""
    begun = time.perf_counter()
    with path.open() as connection:
        connection.sendall(b"E\nx")
        if connection.recv(1) != b"x":
            raise ConnectionError("no echo")
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
        connection.sendall(b"E\nx")
        connection.recv(1)
        held.append(connection)
    return held
