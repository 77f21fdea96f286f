"""Asks a gateway itself for targets, by the enterprise proxy and with the machine's certificate; run by a test.

Arguments: PROXY_HOST PROXY_PORT GATEWAY CA CERTIFICATE KEY TARGET…. A line for each: target, status and reason.
"""

import re
import socket
import ssl
import sys

_ANSWER = re.compile(rb"HTTP/1\.1 ([0-9]{3}) .*?^Arcgate-Reason: ([a-z_]+)\r$", re.DOTALL | re.MULTILINE)


def head(stream: socket.socket) -> bytes:
    """Read to the end of a head, or of the stream."""
    got = b""
    while not got.endswith(b"\r\n\r\n") and (byte := stream.recv(1)):
        got += byte
    return got


def connect(stream: socket.socket, target: str) -> bytes:
    """Ask for a target and return the answer's head."""
    stream.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    return head(stream)


def main() -> None:
    proxy_host, proxy_port, gateway, ca, certificate, key, *targets = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)  # noqa: TID251 - a client of somebody else's
    context.load_cert_chain(certificate, key)
    for target in targets:
        with socket.create_connection((proxy_host, int(proxy_port)), 10) as plain:
            assert b" 200 " in connect(plain, f"{gateway}:443")
            with context.wrap_socket(plain, server_hostname=gateway) as stream:
                answer = _ANSWER.search(connect(stream, target))
                said = f"{answer[1].decode()} {answer[2].decode()}" if answer else "200 -"
                sys.stdout.write(f"{target} {said}\n")


if __name__ == "__main__":
    main()
