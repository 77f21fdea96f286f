"""A real ACME server, Pebble, on loopback: it looks at names by handshakes on a port of ours, and issues."""

import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from worlds.authority import Authority
from worlds.fake_gateway import closed_port
from worlds.waiting import wait_until


@dataclass
class AcmeAuthority:
    """The running server. It finds every name on 127.0.0.1, at `tls_port`."""

    directory: str
    ca_file: Path
    """What to trust for the directory, and for what it issues."""
    issuer_file: Path
    """What it issues is trusted by this alone."""
    tls_port: int
    names_port: int
    log: Path

    def lose(self, name: str) -> None:
        """Let a name have no address from now on."""
        self._name_service("set-servfail", name)

    def find(self, name: str) -> None:
        """Let the name have its address again."""
        self._name_service("clear-servfail", name)

    def _name_service(self, what: str, name: str) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.names_port, timeout=10)) as connection:
            connection.request("POST", f"/{what}", json.dumps({"host": name}))
            assert connection.getresponse().status == 200


@contextmanager
def acme_authority(folder: Path) -> Iterator[AcmeAuthority]:
    """Run Pebble and the names that it asks for. Its directory's certificate is of an authority of the test's own."""
    https, listening, managing, tls, names, dns = (closed_port() for _ in range(6))
    own = Authority(folder)
    chain, key = own.issue("localhost")
    configuration = {
        "listenAddress": f"127.0.0.1:{listening}",
        "managementListenAddress": f"127.0.0.1:{managing}",
        "certificate": str(chain),
        "privateKey": str(key),
        "httpPort": https,
        "tlsPort": tls,
        "externalAccountBindingRequired": False,
    }
    file = folder / "pebble.json"
    file.write_text(json.dumps({"pebble": configuration}))
    log = folder / "pebble.log"
    # Pebble would wait at random before it looks, and refuse nonces at random; a test must not depend on dice.
    with log.open("wb") as output:
        servers = [
            subprocess.Popen(
                ["pebble", "-config", str(file), "-strict", "-dnsserver", f"127.0.0.1:{dns}"],
                env={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "100", "PEBBLE_WFE_NONCEREJECT": "0"},
                stdout=output,
                stderr=output,
            ),
            subprocess.Popen(
                [
                    *("pebble-challtestsrv", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""),
                    *("-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{names}"),
                ],
                stdout=output,
                stderr=output,
            ),
        ]
    try:
        for port in (listening, managing, names):
            wait_until(lambda port=port: _listens(port), f"port {port} is open: {log.read_text()}")  # type: ignore[misc]
        issuer = folder / "issuer.pem"
        issuer.write_text(_root(managing, own))
        both = folder / "acme-ca.pem"
        both.write_text(own.pem + issuer.read_text())
        yield AcmeAuthority(f"https://localhost:{listening}/dir", both, issuer, tls, names, log)
    finally:
        for one in servers:
            one.terminate()
            one.wait(20)


def _root(port: int, own: Authority) -> str:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=own.pem)
    with closing(http.client.HTTPSConnection("localhost", port, context=trust, timeout=10)) as connection:
        connection.request("GET", "/roots/0")
        return connection.getresponse().read().decode("ascii")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
