"""A target service for test networks: HTTPS (or HTTP) with known bytes, upload digests and slow answers.

Run as a script in a namespace: `network_target.py ADDRESS PORT LOG [CHAIN KEY]`. TLS runs over MemoryBIO, so that
every byte of TCP payload is counted; each ended connection leaves one JSON line in LOG.

    GET  /bytes/N     N known bytes
    GET  /after/N     the same, but only when the client has ended its direction
    GET  /slow/N      N lines, one every 50 ms
    PUT  /upload      {"sha256", "length"} of the body (Content-Length); POST to any path, too
    GET  /            {"peer": ADDRESS}
"""

import hashlib
import json
import re
import socket
import socketserver
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(2048))
SLOW_PIECE = b"still coming\n"
_REQUEST = re.compile(rb"(?P<method>[A-Z]{3,4}) (?P<path>/[\x21-\x7e]{0,200}) HTTP/1\.1\r\n", re.ASCII)
_NUMBERED = re.compile(r"/(?P<what>bytes|after|slow)/(?P<number>[0-9]{1,11})\Z", re.ASCII)
_LENGTH = re.compile(rb"\r\ncontent-length: *(?P<length>[0-9]{1,11})\r\n", re.IGNORECASE)


def known_bytes(length: int) -> Iterator[bytes]:
    """Yield the bytes that /bytes/LENGTH answers, in blocks."""
    for start in range(0, length, len(BLOCK)):
        yield BLOCK[: min(len(BLOCK), length - start)]


class CountedPlain:
    """A connection without TLS that counts the bytes of both directions."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = 0
        self.sent = 0

    def handshake(self) -> None:
        """There is none."""

    def read(self) -> bytes:
        """Return some bytes, or none at the end."""
        blob = self.connection.recv(65_536)
        self.received += len(blob)
        return blob

    def write(self, blob: bytes) -> None:
        self.connection.sendall(blob)
        self.sent += len(blob)

    def drain(self) -> None:
        """Take in everything that the peer still sends, to its end."""
        while self.read():
            pass


class CountedTls(CountedPlain):
    """A server's TLS connection that counts the bytes of both directions below TLS."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(connection)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionError("ended during the handshake") from None
            else:
                self._flush()
                return

    def read(self) -> bytes:
        """Return some bytes, or none at the end (a close_notify or an end of TCP)."""
        while True:
            try:
                return self._tls.read(65_536)
            except ssl.SSLWantReadError:
                if not self._fill():
                    return b""
            except ssl.SSLZeroReturnError:
                return b""

    def write(self, blob: bytes) -> None:
        self._tls.write(blob)
        self._flush()

    def _fill(self) -> bool:
        blob = self.connection.recv(65_536)
        self.received += len(blob)
        self._in.write(blob)
        return bool(blob)

    def _flush(self) -> None:
        blob = self._out.read()
        self.connection.sendall(blob)
        self.sent += len(blob)


class Target(socketserver.BaseRequestHandler):
    """One connection: requests until the client ends it."""

    server: "TargetServer"

    def handle(self) -> None:
        context = self.server.context
        self.stream = CountedPlain(self.request) if context is None else CountedTls(self.request, context)
        self.pending = b""
        requests: list[str] = []
        try:
            self.stream.handshake()
            while (head := self._read_head()) is not None:
                requests.append(self._answer(head))
            # No close_notify of ours: whether it would still pass a relay whose client has gone is chance.
        except (OSError, ValueError) as error:
            requests.append(f"{type(error).__name__}: {error}")
        finally:
            self.server.note(
                {
                    "peer": self.client_address[0],
                    "received": self.stream.received,
                    "sent": self.stream.sent,
                    "requests": requests,
                }
            )

    def _read_head(self) -> bytes | None:
        while b"\r\n\r\n" not in self.pending:
            blob = self.stream.read()
            if not blob:
                return None
            self.pending += blob
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        return head + b"\r\n"

    def _answer(self, head: bytes) -> str:
        request = _REQUEST.match(head)
        if request is None:
            raise ValueError("not a request")
        method, path = request["method"].decode(), request["path"].decode()
        numbered = _NUMBERED.match(path)
        if method in ("PUT", "POST"):
            self._answer_json(self._digest_body(head))
        elif numbered is None:
            self._answer_json({"peer": self.client_address[0]})
        elif numbered["what"] == "slow":
            self._answer_slowly(int(numbered["number"]))
        else:
            if numbered["what"] == "after":
                self.stream.drain()
            self._answer_bytes(int(numbered["number"]))
        return f"{method} {path}"

    def _digest_body(self, head: bytes) -> dict[str, Any]:
        found = _LENGTH.search(head)
        length = int(found["length"]) if found else 0
        if b"100-continue" in head:
            self.stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, self.pending = self.pending[:length], self.pending[length:]
        digest, left = hashlib.sha256(body), length - len(body)
        while left:
            blob = self.stream.read()
            if not blob:
                raise ValueError(f"{left} bytes of the body are missing")
            digest.update(blob)
            left -= len(blob)
        return {"sha256": digest.hexdigest(), "length": length}

    def _answer_json(self, document: dict[str, Any]) -> None:
        blob = json.dumps(document).encode()
        self._answer_head(len(blob))
        self.stream.write(blob)

    def _answer_bytes(self, length: int) -> None:
        self._answer_head(length)
        for block in known_bytes(length):
            self.stream.write(block)

    def _answer_slowly(self, pieces: int) -> None:
        self._answer_head(pieces * len(SLOW_PIECE))
        for _ in range(pieces):
            self.stream.write(SLOW_PIECE)
            time.sleep(0.05)

    def _answer_head(self, length: int) -> None:
        self.stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)


class TargetServer(socketserver.ThreadingTCPServer):
    """Takes connections, each in a thread of its own."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, context: ssl.SSLContext | None, log: Path) -> None:
        self.context = context
        self.log = log
        super().__init__((address, port), Target)

    def note(self, connection: dict[str, Any]) -> None:
        # One write of one line, appended: lines of several threads do not mix.
        with self.log.open("a") as log:
            log.write(json.dumps(connection) + "\n")


def main() -> None:
    address, port, log, *certificate = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if context is not None:
        context.load_cert_chain(*certificate)
    with TargetServer(address, int(port), context, Path(log)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
