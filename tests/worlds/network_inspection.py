"""A real proxy that inspects TLS in a test network: mitmproxy, with a CA of its own, from its own environment."""

from dataclasses import dataclass
from pathlib import Path

from worlds.network import Host
from worlds.network_processes import Service

INSPECTION_PORT = 8080
MITMDUMP = Path(__file__).parents[2] / ".venv-inspection" / "bin" / "mitmdump"
"""Made by scripts/install-inspecting-proxy."""


@dataclass
class InspectingProxy:
    """mitmdump as an enterprise proxy; it verifies servers by `upstream_ca`, and shows certificates of its own CA."""

    host: Host
    name_server: Host
    upstream_ca: Path
    _service: Service | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host.address}:{INSPECTION_PORT}"

    @property
    def ca_file(self) -> Path:
        """The certificate of its CA, made at the first start."""
        return self._folder / "mitmproxy-ca-cert.pem"

    def start(self) -> "InspectingProxy":
        """Start it and wait until it listens."""
        assert MITMDUMP.exists(), "run scripts/install-inspecting-proxy"
        self._folder.mkdir(exist_ok=True)
        self.host.resolve_by(self.name_server)
        options = {
            "confdir": self._folder,
            "listen_host": self.host.address,
            "listen_port": INSPECTION_PORT,
            "ssl_verify_upstream_trusted_ca": self.upstream_ca,
            "flow_detail": 1,
        }
        told = [text for name, value in options.items() for text in ("--set", f"{name}={value}")]
        self._service = self.host.start("mitmdump", str(MITMDUMP), *told)
        self._service.ready_when(lambda: self.host.listens(INSPECTION_PORT) and self.ca_file.exists(), "it listens")
        return self

    @property
    def words(self) -> str:
        """What it says of the requests that it has read."""
        assert self._service is not None
        return self._service.words

    @property
    def _folder(self) -> Path:
        return self.host.folder / "mitmproxy"
