"""A client or server whose TLS is rustls, as a program: `fetch PORT NAME AUTHORITIES VERSION SIZE [CERTIFICATE KEY]`
sends a line of standard input and prints an answer with a body of that size, `serve PORT CERTIFICATE KEY FILE
[AUTHORITIES]` answers one request by a file."""

import socket
import sys
from pathlib import Path

import rtls


def fetch(port: str, name: str, authorities: str, version: str, size: str, *certificate: str) -> None:
    context = rtls.SSLContext(rtls.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authorities)
    context.minimum_version = context.maximum_version = getattr(rtls.TLSVersion, f"TLSv1_{version[-1]}")
    if certificate:
        context.load_cert_chain(*certificate)
    with (
        socket.create_connection(("127.0.0.1", int(port))) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        tls.sendall(sys.stdin.buffer.readline() + b"\r\n")
        # Python's face of rustls overlooks an end that came together with data, so the size has to say it.
        answer = bytearray()
        while len(answer.partition(b"\r\n\r\n")[2]) < int(size) and (data := tls.recv(65_536)):
            answer += data
    sys.stdout.buffer.write(answer)


def serve(port: str, certificate: str, key: str, file: str, *authorities: str) -> None:
    context = rtls.SSLContext(rtls.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if authorities:
        context.verify_mode = rtls.CERT_REQUIRED
        context.load_verify_locations(*authorities)
    with socket.create_server(("127.0.0.1", int(port))) as listening:
        raw, _ = listening.accept()
    with raw, context.wrap_socket(raw, server_side=True) as tls:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += tls.recv(65_536)
        tls.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + Path(file).read_bytes())
        tls.unwrap()


if __name__ == "__main__":
    if sys.argv[1] == "fetch":
        fetch(*sys.argv[2:])
    else:
        serve(*sys.argv[2:])
