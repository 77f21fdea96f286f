"""A certificate authority of the tests' own, with certificates as files."""

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import trustme


@dataclass
class Authority:
    """Issues certificates into a folder; `pem` is what a peer must trust."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)
    _numbers: "count[int]" = field(default_factory=count)

    @property
    def pem(self) -> str:
        """The authority's own certificate."""
        return self.ca.cert_pem.bytes().decode()

    @property
    def file(self) -> Path:
        """A file with `pem`."""
        path = self.folder / "ca.pem"
        if not path.exists():
            path.write_text(self.pem)
        return path

    def issue(self, *names: str, common_name: str | None = None) -> tuple[Path, Path]:
        """Return (chain, key) files of a new certificate for host names, addresses or *.SUFFIX."""
        certificate = self.ca.issue_cert(*names, common_name=common_name)
        stem = self.folder / f"certificate-{next(self._numbers)}"
        chain, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(certificate.private_key_pem.bytes())
        return chain, key
