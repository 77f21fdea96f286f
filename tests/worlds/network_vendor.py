"""The host that stands for the vendor, and what lies on it: an image, a signed package repository, a git repository."""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

from worlds.authority import Authority
from worlds.network import Host
from worlds.network_processes import Service
from worlds.vendor import registry

PACKAGE = "arcgate-sample"
GREETING = b"carried through the gateway\n" * 20_000
"""What the image's layer and the package hold."""
SPECIFICATION = f"""\
Name: {PACKAGE}
Version: 1.0
Release: 1
Summary: a package
License: MIT
BuildArch: noarch
%description
a package
%install
mkdir -p %{{buildroot}}/opt
seq 100000 > %{{buildroot}}/opt/greeting
%files
/opt/greeting
"""


@dataclass
class Vendor:
    """One HTTPS server for many names, with its goods and a note of each exchange."""

    host: Host
    names: tuple[str, ...]
    authority: Authority
    _service: Service | None = field(default=None, repr=False)

    def start(self) -> "Vendor":
        """Make the goods, start the server with a certificate for its names, and wait until it listens."""
        for name in ("image", "packages", "git"):
            (self.goods / name).mkdir(parents=True)
        _make_image(self.goods / "image")
        self._make_packages()
        self._make_rpms()
        self._sign()
        self.host.run(
            "git", "init", "--quiet", "--bare", "--initial-branch", "main", str(self.goods / "git/team/_git/code")
        ).succeeded()
        self._configure_git("http.receivepack", "true")
        certificate = self.authority.issue(*self.names)
        argv = (self.host.address, str(self.goods), str(self._log), *map(str, certificate))
        tests = str(Path(__file__).parents[1])
        self._service = self.host.start("vendor", sys.executable, "-m", "worlds.vendor.server", *argv, PYTHONPATH=tests)
        self._service.ready_when(lambda: self.host.listens(443), "it listens")
        return self

    @property
    def goods(self) -> Path:
        return self.host.folder / "goods"

    @property
    def key_ring(self) -> Path:
        """The public key that packages are signed with."""
        return self.goods / "packages/key.gpg"

    @property
    def armoured_key(self) -> Path:
        """The same, as rpm takes it."""
        return self.goods / "packages/key.asc"

    def exchanges(self, *names: str) -> list[Mapping[str, Any]]:
        """Return the notes of exchanges with these names, or of all."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        notes = [json.loads(line) for line in lines]
        return [note for note in notes if not names or note["host"] in names]

    @property
    def image_layer(self) -> bytes:
        return _layer()[1]

    @property
    def package_digest(self) -> str:
        """SHA-256 of the package's file."""
        return hashlib.sha256(self._package.read_bytes()).hexdigest()

    @property
    def rpm_digest(self) -> str:
        """SHA-256 of the package's file for rpm."""
        return hashlib.sha256((self.goods / f"packages/rpm/{PACKAGE}.rpm").read_bytes()).hexdigest()

    def head_of_repository(self) -> str:
        """Return the commit that the repository's branch is at."""
        repository = ("--git-dir", str(self.goods / "git/team/_git/code"))
        return self.host.run("git", *repository, "rev-parse", "main").succeeded().output.strip()

    @property
    def _package(self) -> Path:
        return self.goods / f"packages/{PACKAGE}_1.0_all.deb"

    @property
    def _log(self) -> Path:
        return self.host.folder / "exchanges"

    def _configure_git(self, name: str, value: str) -> None:
        self.host.run(*("git", "--git-dir", str(self.goods / "git/team/_git/code"), "config", name, value)).succeeded()

    def _make_packages(self) -> None:
        """Make a repository of one package, flat and signed, as small vendors have it."""
        tree = self.host.folder / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        control = f"Package: {PACKAGE}\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@vendor.example>\n"
        (tree / "DEBIAN/control").write_text(control + "Description: a package\n")
        (tree / "greeting").write_bytes(GREETING)
        self.host.run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(self._package)).succeeded()
        blob = self._package.read_bytes()
        facts = f"Filename: ./{self._package.name}\nSize: {len(blob)}\nSHA256: {hashlib.sha256(blob).hexdigest()}\n\n"
        index = (control + facts.removesuffix("\n") + "Description: a package\n\n").encode()
        (self.goods / "packages/Packages").write_bytes(index)
        sums = f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
        (self.goods / "packages/Release").write_text(f"Suite: stable\nDate: {formatdate(usegmt=True)}\n{sums}")

    def _make_rpms(self) -> None:
        """Make the same for the other family of systems."""
        folder, name = self.goods / "packages/rpm", "%%{NAME}.rpm"
        specification = self.host.folder / "sample.spec"
        specification.write_text(SPECIFICATION)
        places = {"_topdir": self.host.folder / "rpmbuild", "_rpmdir": folder, "_build_name_fmt": name}
        definitions = [word for key, value in places.items() for word in ("--define", f"{key} {value}")]
        self.host.run("rpmbuild", "--quiet", "-bb", *definitions, str(specification)).succeeded()
        self.host.run("createrepo_c", "--quiet", str(folder)).succeeded()

    def _sign(self) -> None:
        home, folder = self.host.folder / "keys", self.goods / "packages"
        home.mkdir(mode=0o700)

        def gpg(*arguments: str) -> None:
            self.host.run("gpg", "--batch", "--quiet", *arguments, GNUPGHOME=str(home)).succeeded()

        gpg("--passphrase", "", "--quick-generate-key", "packages@vendor.example", "ed25519", "sign", "never")
        gpg("--output", str(folder / "InRelease"), "--clearsign", str(folder / "Release"))
        gpg("--armor", "--detach-sign", str(folder / "rpm/repodata/repomd.xml"))
        gpg("--output", str(self.key_ring), "--export")
        gpg("--output", str(self.armoured_key), "--armor", "--export")


def vendor(host: Host, names: Iterable[str], authority: Authority) -> Vendor:
    """Start the vendor's server on a host."""
    return Vendor(host, tuple(names), authority).start()


def _make_image(folder: Path) -> None:
    layer, plain = _layer()
    manifest, blobs = registry.image(layer, plain)
    (folder / "manifest").write_bytes(manifest)
    for digest, blob in blobs.items():
        (folder / digest).write_bytes(blob)


def _layer() -> tuple[bytes, bytes]:
    """Return a layer as it is sent, and unpacked."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        entry = tarfile.TarInfo("greeting")
        entry.size = len(GREETING)
        archive.addfile(entry, io.BytesIO(GREETING))
    return gzip.compress(plain.getvalue(), mtime=0), plain.getvalue()
