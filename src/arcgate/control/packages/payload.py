"""The agent's package: its own modules and the installed libraries that it needs, in one archive.

It is made of what runs here, so it is good for machines with the same minor version of Python and the same
kind of system. Equal content makes equal bytes.
"""

import gzip
import hashlib
import io
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import arcgate
from arcgate.control.packages.installer import Package, data_text
from arcgate.core.errors import StateError

ENTRY_POINTS = {
    "azcmagent": "arcgate.agent.commands.main",
    "himdsd": "arcgate.agent.himds.service",
    "arcproxyd": "arcgate.agent.proxy.service",
    "extd": "arcgate.agent.extensions.service",
}
UNITS = ("himdsd.service", "arcproxyd.service", "extd.service", "azcmagent.conf")
FIXED_TIME = 315_532_800
"""1980-01-01: all files have it, so that the archive depends on their content alone."""

_SERVER_PARTS = ("cli", "control", "gateway", "portal")
_SERVER_MODULES = ("core/configuration.py",)
_NOT_SHIPPED = ("direct_url.json", "INSTALLER", "RECORD", "REQUESTED")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive."""

    path: str
    content: bytes
    is_executable: bool = False


def this_package() -> Package:
    """Return what the archive made here is good for."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Package(arcgate.__version__, str(sysconfig.get_config_var("SOABI")), minor)


def build_archive() -> bytes:
    """Return the archive; raises StateError (PACKAGE_INCOMPLETE) when a library's files are not all known."""
    members = sorted([*_own_members(), *_agent_members(), *_library_members()], key=lambda member: member.path)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            archive.addfile(_describe(member), io.BytesIO(member.content))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as file:
        file.write(raw.getvalue())
    return packed.getvalue()


def digest_line(archive: bytes, name: str) -> str:
    """Return the checksum of an archive in the form of sha256sum."""
    return f"{hashlib.sha256(archive).hexdigest()}  {name}\n"


def required_distributions(name: str = "arcgate") -> list[Distribution]:
    """Return the distributions that `name` needs without its extras, on this system, sorted by name."""
    found: dict[str, Distribution] = {}
    waiting = list(_requirements(_find(name), frozenset()))
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name)
        if key in found and not requirement.extras:
            continue
        found[key] = _find(requirement.name)
        waiting += [
            one
            for one in _requirements(found[key], frozenset(requirement.extras))
            if canonicalize_name(one.name) not in found
        ]
    return [found[key] for key in sorted(found)]


def _find(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise _incomplete(name, "it is not installed") from None


def _requirements(one: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in one.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            yield requirement


def _own_members() -> Iterator[Member]:
    for name, module in ENTRY_POINTS.items():
        text = data_text("launcher.py.in").replace("@@NAME@@", name).replace("@@MODULE@@", module)
        yield Member(f"launchers/{name}", text.encode())
    yield Member("bin/azcmagent_proxy", data_text("azcmagent_proxy").encode(), is_executable=True)
    yield Member("prepare_machine", data_text("prepare_machine").encode(), is_executable=True)
    for name in UNITS:
        yield Member(f"systemd/{name}", data_text(name).encode())


def _agent_members() -> Iterator[Member]:
    package = Path(arcgate.__file__).parent
    for path in package.rglob("*"):
        place = path.relative_to(package)
        is_server = place.parts[0] in _SERVER_PARTS or place.as_posix() in _SERVER_MODULES
        if path.is_file() and not is_server and _is_shipped(PurePosixPath(place.as_posix())):
            yield Member(f"lib/arcgate/{place.as_posix()}", path.read_bytes())


def _library_members() -> Iterator[Member]:
    for one in required_distributions():
        if one.files is None:
            raise _incomplete(one.name, "its list of files is missing")
        for file in one.files:
            if _is_shipped(file):
                yield Member(f"lib/{file.as_posix()}", Path(str(one.locate_file(file))).read_bytes())


def _is_shipped(place: PurePosixPath) -> bool:
    is_inside = not place.is_absolute() and ".." not in place.parts
    return is_inside and "__pycache__" not in place.parts and place.name not in _NOT_SHIPPED


def _describe(member: Member) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member.path)
    info.size = len(member.content)
    info.mtime = FIXED_TIME
    info.mode = 0o755 if member.is_executable else 0o644
    return info


def _incomplete(name: str, cause: str) -> StateError:
    return StateError(
        "PACKAGE_INCOMPLETE",
        f"The agent's package can't be made: {name} is not as installers leave it.",
        cause=cause,
        remedy="Install Arcgate with pip or uv into an environment of its own.",
    )
