"""The agent's package: what is in it, what is not, and that equal content makes equal bytes."""

import io
import os
import shutil
import tarfile
from functools import cache
from pathlib import Path

import pytest

import arcgate
from arcgate.control.packages.installer import data_text
from arcgate.control.packages.payload import build_archive, digest_line, required_distributions, this_package


@cache
def archive() -> bytes:
    return build_archive()


@cache
def members() -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive())) as opened:
        return {member.name: member for member in opened}


def test_equal_installations_make_the_same_bytes_wherever_and_whenever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Copies: the sources here may be edited while this runs.
    first, second = tmp_path / "first/arcgate", tmp_path / "another/place/arcgate"
    shutil.copytree(Path(arcgate.__file__).parent, first, ignore=shutil.ignore_patterns("__pycache__"))
    for path in sorted(first.rglob("*.*"), reverse=True):
        copy = second / path.relative_to(first)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (1_000_000_000, 1_000_000_000))
        copy.chmod(0o600)
    made = []
    for place in (first, second):
        monkeypatch.setattr(arcgate, "__file__", str(place / "__init__.py"))
        made.append(build_archive())
    assert made[0] == made[1]
    assert len(made[0]) > 1_000_000


def test_the_agents_libraries_are_found_through_their_requirements() -> None:
    names = {one.name for one in required_distributions()}
    assert {"click", "cryptography", "cffi", "dnspython", "h11", "idna", "joserfc", "structlog"} <= names


def test_the_servers_libraries_and_parts_stay_out() -> None:
    names = {one.name.lower() for one in required_distributions()}
    assert not names & {"sqlalchemy", "starlette", "uvicorn", "pydantic", "alembic", "jinja2", "pytest", "packaging"}
    assert not [name for name in members() if name.startswith(("lib/arcgate/control", "lib/arcgate/cli/"))]
    assert not [name for name in members() if name.startswith("lib/arcgate/gateway")]


def test_the_core_and_all_launchers_and_units_are_in_it() -> None:
    wanted = {
        "lib/arcgate/core/routing.py",
        "lib/arcgate/core/catalogue/azure.toml",
        "lib/h11/__init__.py",
        "launchers/azcmagent",
        "launchers/himdsd",
        "launchers/arcproxyd",
        "launchers/extd",
        "bin/azcmagent_proxy",
        "systemd/himdsd.service",
        "systemd/arcproxyd.service",
        "systemd/extd.service",
    }
    assert wanted <= set(members())


def test_licences_of_the_libraries_travel_with_them() -> None:
    assert [name for name in members() if name.startswith("lib/cryptography-") and "LICENSE" in name]


def test_members_are_sorted_plain_files_that_stay_inside() -> None:
    names = list(members())
    assert names == sorted(names)
    for name, member in members().items():
        assert member.isfile()
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert "__pycache__" not in name
        assert member.mode in {0o644, 0o755}
        assert (member.uid, member.gid, member.mtime) == (0, 0, 315_532_800)


def test_the_checksum_line_is_that_of_sha256sum() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_line(b"", "a.tar.gz") == f"{empty}  a.tar.gz\n"


def test_the_packages_name_tells_version_and_platform() -> None:
    package = this_package()
    assert package.file_name == f"azcmagent-{package.version}-{package.platform}.tar.gz"
    assert package.platform.startswith("cpython-")


def test_the_units_are_confined() -> None:
    for unit in ("himdsd.service", "arcproxyd.service"):
        lines = data_text(unit).splitlines()
        assert {
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "PrivateTmp=yes",
            "CapabilityBoundingSet=",
            "ReadWritePaths=/var/opt/azcmagent",
        } <= set(lines)
        assert any(line.startswith("RestrictAddressFamilies=") for line in lines)
        assert any(line.startswith("User=") and line != "User=root" for line in lines)
