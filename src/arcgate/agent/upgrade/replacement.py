"""Puts a package in place of what is installed. Until the new one has answered, the old one stays and comes back."""

import json
import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from arcgate.agent.errors import AzcmError
from arcgate.agent.upgrade.commands import INSTALLERS, run
from arcgate.agent.upgrade.installation import Installation
from arcgate.core.package_offers import Offer

LAUNCHED = ("azcmagent", "himdsd", "arcproxyd", "extd")
UNITS = Path("etc/systemd/system")


def replace_archive(installed: Installation, offer: Offer, file: Path, tell: Callable[[str], None]) -> None:
    """Unpack an archive beside what is installed, try it, and exchange the two; raises AzcmError 101."""
    home = installed.home
    fresh, old = (home.with_name(f"{home.name}.{word}.{os.getpid()}") for word in ("new", "old"))
    try:
        _unpack(file, fresh)
        if offer.kind == "python":
            _make_launchers(fresh)
        require_version(fresh / "bin" / "azcmagent", offer.version)
        home.rename(old)
        try:
            fresh.rename(home)
            _prepare(installed)
            require_version(installed.program, offer.version)
        except (OSError, AzcmError):
            _put_back(installed, old, tell)
            raise
    except OSError as error:
        raise AzcmError(
            101,
            "The package could not be put in place.",
            cause=str(error),
            remedy=f"Check the space and the rights in {home.parent}.",
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def replace_package(kind: str, file: Path) -> None:
    """Let the system's package manager install a file; raises AzcmError 101."""
    command = next((words for words in INSTALLERS[kind] if shutil.which(words[0])), None)
    if command is None:
        raise AzcmError(101, f"No program is here that installs packages of the kind {kind}.")
    run([*command, file])


def require_version(program: Path, version: str) -> None:
    """Raise AzcmError 101 unless the command answers that it is of this version."""
    try:
        found = json.loads(run([program, "version", "--json"]))["version"]
    except (ValueError, TypeError, KeyError):
        found = "nothing that can be read"
    if found != version:
        raise AzcmError(101, "The new agent does not run here.", cause=f"asked for its version, it said: {found!s:.60}")


def _unpack(file: Path, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    try:
        with tarfile.open(file, "r:gz") as archive:
            members = archive.getmembers()
            require_contained(members)
            # Python's own filters are younger than the Pythons of some systems; ours has looked at everything.
            archive.extraction_filter = lambda member, _folder: member
            archive.extractall(folder, members=members)  # noqa: S202
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise AzcmError(101, "The package can't be unpacked.", cause=str(error)) from None


def require_contained(members: Iterable[tarfile.TarInfo]) -> None:
    """Raise AzcmError 101 unless all are files, folders and links that stay in their folder; take owners away."""
    links: set[PurePosixPath] = set()
    for member in members:
        path = PurePosixPath(member.name)
        is_plain = member.isfile() or member.isdir() or (member.issym() and _leads_inside(path, member.linkname))
        if not is_plain or path.is_absolute() or ".." in path.parts or links & set(path.parents):
            raise AzcmError(101, "The package holds what no package of ours does.", cause=repr(member.name[:200]))
        if member.issym():
            links.add(path)
        member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
        member.mode &= 0o755


def _leads_inside(link: PurePosixPath, target: str) -> bool:
    parts = PurePosixPath(target).parts
    up = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
    return not target.startswith("/") and ".." not in parts[up:] and up < len(link.parts)


def _make_launchers(fresh: Path) -> None:
    programs = fresh / "bin"
    programs.mkdir(exist_ok=True)
    for name in LAUNCHED:
        if not (fresh / "launchers" / name).is_file():
            continue  # older agents have fewer services
        text = (fresh / "launchers" / name).read_text(encoding="utf-8")
        (programs / name).write_text(f"#!{Path(sys.executable).resolve()} -IS\n{text}", encoding="utf-8")
        (programs / name).chmod(0o755)
    # By this name clients of the token endpoint find out that there is one.
    (programs / "himds").symlink_to("himdsd")
    shutil.rmtree(fresh / "launchers")
    # The services' users may not write here: without this, each start would compile everything anew.
    run([sys.executable, "-IS", "-m", "compileall", "-q", "-j", "0", fresh / "lib"])


def _prepare(installed: Installation) -> None:
    """Put the units in place and restart what runs, as the installer does."""
    home, root = installed.home, installed.root
    is_system = root == Path("/")
    if is_system and Path("/run/systemd/system").is_dir():
        for unit in (home / "systemd").glob("*.service"):
            shutil.copyfile(unit, root / UNITS / unit.name)
    script = home / "prepare_machine"
    if script.is_file():
        run([script] if is_system else [script, "--root", root])


def _put_back(installed: Installation, old: Path, tell: Callable[[str], None]) -> None:
    shutil.rmtree(installed.home, ignore_errors=True)
    old.rename(installed.home)
    tell(f"Rolled back to version {installed.version}")
    _prepare(installed)
