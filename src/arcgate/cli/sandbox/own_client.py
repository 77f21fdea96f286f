"""A client for hosts without curl: one HTTPS request through Arc Proxy."""

from ipaddress import IPv4Address

from arcgate.core.errors import Hop
from arcgate.core.names import Target
from arcgate.net.dialer import ConnectRefused, connect_through, dial
from arcgate.net.http_client import HttpClient
from arcgate.net.streams import ByteStream
from arcgate.net.tls import client_context

TIMEOUT = 30.0


async def fetch(proxy_port: int, url: str, body: bytes, ca_pem: str) -> tuple[int, int, int, int]:
    """Return status, status of CONNECT, and bytes of the bodies down and up; raises HopError."""

    async def open_stream(target: Target) -> ByteStream:
        stream = await dial([IPv4Address("127.0.0.1")], proxy_port, TIMEOUT)
        try:
            tunnel, _ = await connect_through(stream, target, TIMEOUT, hop=Hop.GATEWAY, via="Arc Proxy")
        except BaseException:
            await stream.close()
            raise
        return tunnel

    client = HttpClient(open_stream, client_context(ca_pem=ca_pem))
    try:
        answer = await client.request("PUT" if body else "GET", url, body=body, timeout=TIMEOUT)
    except ConnectRefused as error:
        return 0, error.refusal.status, 0, 0
    return answer.status, 200, len(answer.body), len(body)
