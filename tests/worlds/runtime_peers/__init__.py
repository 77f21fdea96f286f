"""Programs whose TLS is that of a language's own library: Java's JSSE and Go's crypto/tls, as client and as server."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificates

RUNTIMES = ("java", "go")
_SOURCES = Path(__file__).parent
_PASSWORD = "not a secret"


@dataclass(frozen=True)
class RuntimePeer:
    """A program that has been compiled; its source says what its arguments mean."""

    runtime: str
    command: tuple[str, ...]

    def connecting(self, proxy_port: int, host: str, port: int, authorities: Path) -> list[str]:
        """Return a client that goes through a proxy on loopback."""
        return [*self.command, "connect", str(proxy_port), host, str(port), str(authorities)]

    def serving(self, chain: Path, key: Path, size: int) -> list[str]:
        """Return a server that sends so many bytes: behind the client's end with TLS 1.3, before it with TLS 1.2."""
        if self.runtime == "java":
            return [*self.command, "serve", str(_key_store(chain, key)), _PASSWORD, str(size)]
        return [*self.command, "serve", str(chain), str(key), str(size)]


def build_peer(runtime: str, folder: Path) -> RuntimePeer:
    """Compile a program into a folder; nothing is downloaded."""
    if runtime == "java":
        subprocess.run(["javac", "-d", folder, _SOURCES / "Peer.java"], check=True)
        # One short run each: starting fast counts, running fast doesn't.
        return RuntimePeer(runtime, ("java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", str(folder), "Peer"))
    offline = {"GO111MODULE": "off", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(folder / "cache")}
    command = ["go", "build", "-o", str(folder / "peer"), str(_SOURCES / "peer.go")]
    subprocess.run(command, check=True, env={**os.environ, **offline})
    return RuntimePeer(runtime, (str(folder / "peer"),))


def _key_store(chain: Path, key: Path) -> Path:
    """Return the certificate and key in the form that Java reads."""
    certificate, *others = load_pem_x509_certificates(chain.read_bytes())
    private = load_pem_private_key(key.read_bytes(), None)
    encryption = BestAvailableEncryption(_PASSWORD.encode())
    store = chain.with_suffix(".p12")
    store.write_bytes(serialize_key_and_certificates(b"peer", private, certificate, others, encryption))  # type: ignore[arg-type]
    return store
