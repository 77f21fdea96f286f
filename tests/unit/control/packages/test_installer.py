"""Rendered installers: clean for shellcheck, quoted against hostile settings, whole or without effect."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from arcgate.control.authority.authority import pem_of
from arcgate.control.authority.certificates import make_root
from arcgate.control.packages.clouds import Approach, cloud_definition, cloud_name, download_url
from arcgate.control.packages.installer import Package, data_text, render_linux, render_windows
from arcgate.core.configuration import CloudSettings, Configuration
from arcgate.core.package_offers import Offer, read_name

PACKAGE = Package("0.1.0", "cpython-311-x86_64-linux-gnu", "3.11")
CA = pem_of(make_root("Test", datetime.now(UTC)).certificate)
CONFIGURATION = Configuration(cloud=CloudSettings(domain="arcgate.test", public_port=8443, extra_names=("localhost",)))
HOSTILE = 'it\'s $(touch pwned) `touch pwned` "quoted" \\ END_OF_CLOUD'


def cloud(**changes: Any) -> dict[str, Any]:
    return {**cloud_definition(CONFIGURATION, CA, Approach()), **changes}


def script(definition: Mapping[str, Any] | None = None) -> str:
    return render_linux(PACKAGE, definition or cloud(), "https://packages.arcgate.test:8443")


def run(text: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = folder / "install.sh"
    path.write_text(text)
    return subprocess.run(
        ["/bin/sh", str(path), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )


@pytest.mark.parametrize(
    "text", [script(), script(cloud(ca="")), data_text("azcmagent_proxy"), data_text("prepare_machine")]
)
def test_the_scripts_are_clean_for_shellcheck(tmp_path: Path, text: str) -> None:
    path = tmp_path / "script.sh"
    path.write_text(text)
    checked = subprocess.run(
        ["shellcheck", "--shell=sh", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_a_password_for_the_services_environment_is_refused_with_a_better_place(tmp_path: Path) -> None:
    refused = run(data_text("azcmagent_proxy"), tmp_path, "add", "http://user:hunter2@proxy.example:3128")
    assert refused.returncode == 23
    assert "proxy.credentials" in refused.stderr
    assert "hunter2" not in refused.stdout + refused.stderr


def test_no_placeholder_is_left() -> None:
    assert "@@" not in script()
    assert "@@" not in render_windows(PACKAGE, cloud())


def test_hostile_settings_stay_text(tmp_path: Path) -> None:
    hostile = render_linux(Package(HOSTILE, HOSTILE, HOSTILE), cloud(name=HOSTILE), HOSTILE)
    done = run(hostile, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "pwned").exists()


def test_authorities_that_could_end_their_document_are_refused() -> None:
    with pytest.raises(ValueError, match="PEM"):
        script(cloud(ca=f"{CA}\nEND_OF_AUTHORITIES\ntouch pwned\n"))


def test_a_script_that_was_cut_off_does_nothing(tmp_path: Path) -> None:
    text = script()
    for end in range(0, len(text) - len('main "$@"\n'), 997):
        run(text[:end], tmp_path, "--root", str(tmp_path / "root"))
        assert not (tmp_path / "root").exists()


def test_the_help_names_every_option(tmp_path: Path) -> None:
    shown = run(script(), tmp_path, "--help").stdout
    assert all(option in shown for option in ("--proxy", "--root", "--desiredversion", "--output", "--help"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--unknown"], 23),
        (["--proxy"], 23),
        (["--root"], 23),
        (["--root", "relative"], 23),
        (["--proxy", "ftp://x"], 23),
        (["--root", "/x", "--desiredversion", "9.9"], 147),
    ],
)
def test_wrong_options_end_with_a_sentence_and_their_code(tmp_path: Path, arguments: list[str], code: int) -> None:
    done = run(script(), tmp_path, *arguments)
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("Installation failed: ")


def test_a_failure_is_written_to_the_output_file_too(tmp_path: Path) -> None:
    output = tmp_path / "failure.txt"
    assert run(script(), tmp_path, "--output", str(output), "--desiredversion", "9", "--root", "/x").returncode == 147
    assert "Version 9 is not on offer" in output.read_text()


def test_a_machine_without_this_python_is_told_what_to_do(tmp_path: Path) -> None:
    text = render_linux(Package("0.1.0", "cpython-399-none-linux-gnu", "3.99"), cloud(), "https://localhost")
    done = run(text, tmp_path, "--root", str(tmp_path / "root"))
    assert done.returncode in {132, 143}
    assert "Install python3.99" in done.stderr
    assert not (tmp_path / "root").exists()


def test_the_windows_script_says_that_it_installs_nothing() -> None:
    text = render_windows(PACKAGE, cloud())
    assert "Nothing was installed" in text
    assert text.rstrip().endswith("exit 1")


def test_the_cloud_definition_has_every_key_of_the_contract() -> None:
    assert cloud() == {
        "name": "Arcgate",
        "resourceManager": "https://management.arcgate.test:8443",
        "login": "https://login.arcgate.test:8443",
        "his": "https://gbl.his.arcgate.test:8443",
        "packages": "https://packages.arcgate.test:8443",
        "domain": "arcgate.test",
        "ca": CA,
        "packageKeys": [],
        "front": "",
        "address": "",
    }


def test_a_machine_that_came_by_a_gateway_goes_on_by_it() -> None:
    approach = Approach(gateway_name="abc.gw.arcgate.test")
    assert cloud_definition(CONFIGURATION, CA, approach)["front"] == "abc.gw.arcgate.test:8443"
    assert download_url(CONFIGURATION, approach) == "https://abc.gw.arcgate.test:8443"


def test_a_machine_that_came_by_an_extra_name_goes_on_by_it() -> None:
    definition = cloud_definition(CONFIGURATION, CA, Approach(extra_name="localhost"))
    assert definition["his"] == definition["login"] == "https://localhost:8443"
    assert download_url(CONFIGURATION, Approach(extra_name="localhost")) == "https://localhost:8443"


def test_a_cloud_whose_name_fits_no_file_is_called_by_its_domain() -> None:
    odd = Configuration(cloud=CloudSettings(name="../My Cloud", domain="arcgate.test"))
    assert cloud_name(odd) == "arcgate.test"


def test_the_embedded_cloud_is_one_line_of_json() -> None:
    lines = script(cloud(name="Zürich☃")).splitlines()
    place = lines.index("END_OF_CLOUD")
    assert json.loads(lines[place - 1])["name"] == "Zürich☃"
    assert lines[place - 1].isascii()


MACHINE = os.uname().machine
TOOLS = {
    "apt-get": ("deb", "install"),
    "dnf": ("rpm", "--disablerepo=*"),
    "yum": ("rpm", "--disablerepo=*"),
    "zypper": ("rpm", "--allow-unsigned-rpm"),
    "apk": ("apk", "--no-network"),
}
NAMES = {
    "deb": f"azcmagent_9.8.7_{'amd64' if MACHINE == 'x86_64' else 'arm64'}.deb",
    "rpm": f"azcmagent-9.8.7-1.{MACHINE}.rpm",
    "apk": f"azcmagent-9.8.7-r0.{MACHINE}.apk",
    "archive": f"azcmagent-9.8.7-linux-{'musl' if any(Path('/lib').glob('ld-musl-*')) else 'gnu'}-{MACHINE}.tar.gz",
}


def offers(content: bytes, *kinds: str) -> list[Offer]:
    digest = hashlib.sha256(content).hexdigest()
    libc = "musl" if any(Path("/lib").glob("ld-musl-*")) else "gnu"
    found = [read_name(NAMES[kind]) for kind in kinds]
    return [replace(one, sha256=digest, libc=libc) for one in found if one is not None]


class Programs:
    """A machine that has the named package managers, each a stand-in that writes down how it was called."""

    def __init__(self, folder: Path, *tools: str, downloads: bytes = b"the package") -> None:
        self.notes = folder / "notes"
        self.folder = folder / "bin"
        self.folder.mkdir()
        for name in ("cat", "chmod", "env", "grep", "mktemp", "rm", "sh", "sha256sum", "sort", "uname"):
            (self.folder / name).symlink_to(str(shutil.which(name)))
        (folder / "download").write_bytes(downloads)
        for name in tools:
            self.program(name, f'echo "{name} $*" >>"{self.notes}"\nexit 9\n')
        fetched = f'while [ "$1" != --output ]; do shift; done\ncp "{folder}/download" "$2"\n'
        self.program("curl", fetched.replace("cp ", "/bin/cp "))
        self.program("id", "echo 0\n")

    def program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{text}")
        (self.folder / name).chmod(0o755)

    def install(self, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        file = self.folder.parent / "install.sh"
        file.write_text(text)
        return subprocess.run(
            ["/bin/sh", str(file), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"PATH": str(self.folder)},
        )


@pytest.mark.parametrize("tool", TOOLS)
def test_each_systems_own_package_manager_gets_its_package(tmp_path: Path, tool: str) -> None:
    kind, word = TOOLS[tool]
    programs = Programs(tmp_path, tool)
    text = render_linux(PACKAGE, cloud(), "https://localhost", offers(b"the package", "deb", "rpm", "apk"))
    done = programs.install(text)
    assert done.returncode == 143, done.stderr  # the stand-ins fail, so that nothing of this machine is touched
    assert tool in done.stderr
    assert word in programs.notes.read_text()
    assert programs.notes.read_text().rstrip().endswith(NAMES[kind])


def test_a_package_with_another_digest_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    programs = Programs(tmp_path, "apt-get", downloads=b"something else")
    done = programs.install(render_linux(PACKAGE, cloud(), "https://localhost", offers(b"the package", "deb")))
    assert done.returncode == 171
    assert not programs.notes.exists()


def test_a_version_that_is_offered_can_be_chosen(tmp_path: Path) -> None:
    programs = Programs(tmp_path, "apt-get")
    text = render_linux(PACKAGE, cloud(), "https://localhost", offers(b"the package", "deb"))
    assert programs.install(text, "--desiredversion", "9.8.7").returncode == 143
    assert programs.install(text, "--desiredversion", "1.2.3").returncode == 147


def installed_by(programs: Programs, *kinds: str) -> subprocess.CompletedProcess[str]:
    return programs.install(render_linux(PACKAGE, cloud(), "https://localhost", offers(b"the package", *kinds)))


def test_a_system_that_can_unpack_nothing_is_told_what_to_install(tmp_path: Path) -> None:
    done = installed_by(Programs(tmp_path), "archive")
    assert done.returncode == 150
    assert done.stderr == "Installation failed: tar and gzip are needed to unpack the agent. Install them.\n"


def test_a_full_disk_is_no_fault_of_the_network(tmp_path: Path) -> None:
    programs = Programs(tmp_path, "apt-get")
    programs.program("curl", "exit 23\n")
    done = installed_by(programs, "deb")
    assert done.returncode == 158
    assert "Check the space" in done.stderr


def test_a_step_that_nobody_thought_of_ends_with_a_sentence_and_a_known_code(tmp_path: Path) -> None:
    programs = Programs(tmp_path, "apt-get")
    (programs.folder / "chmod").unlink()
    programs.program("chmod", "echo 'chmod: no' >&2\nexit 1\n")
    done = installed_by(programs, "deb")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        150,
        "Installation failed: A step failed; see the words above.",
    )


def test_dpkg_goes_on_where_a_killed_installation_ended(tmp_path: Path) -> None:
    programs = Programs(tmp_path, "apt-get", "dpkg")
    assert installed_by(programs, "deb").returncode == 143
    apt, dpkg = programs.notes.read_text().splitlines()
    assert apt.startswith("apt-get install ")
    assert dpkg == f"dpkg --install {apt.rpartition(' ')[2]}"


def test_an_exchange_that_is_interrupted_brings_the_old_agent_back(tmp_path: Path) -> None:
    text = script()
    functions = text[: text.index("# All of it has arrived")]
    steps = f"""
home={tmp_path}/azcmagent fresh={tmp_path}/fresh
mkdir "$home" "$fresh" && echo old >"$home/which" && echo new >"$fresh/which"
trap clean_up EXIT
trap 'fail 11 "It was interrupted."' HUP INT TERM
mv() {{ command mv "$@"; case $2 in *.old.*) kill -TERM $$ ;; esac; }}
put_in_place
"""
    done = run(functions + steps, tmp_path)
    assert (done.returncode, done.stderr) == (11, "Installation failed: It was interrupted.\n")
    assert (tmp_path / "azcmagent/which").read_text() == "old\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["azcmagent", "install.sh"]
