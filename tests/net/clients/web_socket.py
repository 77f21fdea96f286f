"""Holds a WebSocket by the library websocket-client; run by a test.

Arguments: URL PROXY_HOST PROXY_PORT CA SECONDS_BETWEEN_PINGS PINGS. It sends a message, that many pings, one at a time,
and another message; what came back to each is a line. Without pings it waits for as long as the other side likes.
"""

import ssl
import sys
import time

import websocket


def main() -> None:
    url, host, port, ca, pause, pings = sys.argv[1:]
    trust = {"ca_certs": ca, "cert_reqs": ssl.CERT_REQUIRED}
    proxy = {"http_proxy_host": host, "http_proxy_port": int(port), "proxy_type": "http"}
    line = websocket.create_connection(url, sslopt=trust, timeout=60, **proxy)
    tell(line, "first")
    if pings == "0":
        line.recv()
    for _ in range(int(pings)):
        time.sleep(float(pause))
        line.ping()
        kind, _ = line.recv_data(control_frame=True)
        sys.stdout.write(f"pong {kind == websocket.ABNF.OPCODE_PONG}\n")
    tell(line, "last")
    line.close()


def tell(line: websocket.WebSocket, word: str) -> None:
    line.send(word)
    sys.stdout.write(f"{line.recv()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
