"""The agent's package on a minimal system without Python: installed through the gateway alone, connected, at work."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from worlds.bare_system import BareSystem, bare_system, build_packages
from worlds.network_processes import Finished, execute
from worlds.network_services import digest, digest_of_known_bytes
from worlds.network_stage import ALLOWED_TARGETS, GROUP, LOCATION, Stage, stage
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(400)


@dataclass
class Onboarded:
    """A minimal system that was connected by an onboarding script."""

    stage: Stage
    system: BareSystem
    gateway: dict[str, Any]
    script: Path
    secret: str

    def run_script(self, name: str = "onboard.sh") -> Finished:
        """Run the script (or a copy of it) as the system's root."""
        secret = {"AZCMAGENT_SERVICE_PRINCIPAL_SECRET": self.secret}
        return self.system.run("sh", f"/root/{name}", timeout=240, **secret)

    def installed_version(self) -> str:
        asked = self.system.run("dpkg-query", "--show", "--showformat=${Version} ${Status}", "azcmagent")
        return asked.succeeded().output


def prepared(built: Stage, system: BareSystem) -> Onboarded:
    """Have the operator make an onboarding script for the system."""
    gateway = built.create_gateway("edge")
    role = ("--name", "bare", "--role", "Azure Connected Machine Onboarding")
    made = built.operator.ask("service-principal", "create", *role)
    script = system.root / "root/onboard.sh"
    where = ("--resource-group", GROUP, "--location", LOCATION, "--resource-name", "bare")
    who = ("--service-principal", made["clientId"], "--gateway-id", gateway["id"], "--tags", "City=Bern Ost")
    options = ("--os", "linux", *where, *who, "--file", str(script))
    built.operator.arcgate("onboarding-script", *options).succeeded()
    system.know(gateway["properties"]["gatewayEndpoint"], built.gateway.host)
    return Onboarded(built, system, gateway, script, made["clientSecret"])


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def onboarded(packages: Path) -> Iterator[Onboarded]:
    with stage(squid=False) as built, bare_system(built.machine.host) as system:
        shutil.copytree(packages, built.control.state / "packages")
        found = prepared(built, system)
        found.run_script().succeeded()
        yield found


def test_the_agent_needs_no_python_on_the_machine(onboarded: Onboarded) -> None:
    root = onboarded.system.root
    assert not [one for one in (root / "usr/bin").iterdir() if one.name.startswith("python")]
    assert onboarded.installed_version().endswith("install ok installed")
    said = onboarded.system.run("/usr/bin/azcmagent", "version").succeeded().output
    assert onboarded.installed_version().split()[0] in said


def test_it_is_connected_and_carries_the_traffic_of_curl(onboarded: Onboarded) -> None:
    built, system = onboarded.stage, onboarded.system
    log = system.root / "var/opt/azcmagent/log"
    built.net.further_logs += [log / name for name in ("arcproxy.log", "himds.log")]
    services = [
        system.start("himdsd", "himds:arcproxy", "/opt/azcmagent/bin/himdsd"),
        system.start("arcproxyd", "arcproxy:arcproxy", "/opt/azcmagent/bin/arcproxyd"),
    ]
    proxy = ("--proxy", "http://127.0.0.1:40343")
    trust = ("--cacert", system.put(built.target.authority.file))
    url = f"https://{ALLOWED_TARGETS[0]}/bytes/300000"
    curl = ("curl", "-sS", "--max-time", "10", *proxy, *trust, "-o", "/root/body", url)
    services[1].ready_when(lambda: built.machine.host.listens(40343), "it listens", 60)
    wait_until(lambda: system.run(*curl).code == 0, "curl's request passes", 60)
    assert digest((system.root / "root/body").read_bytes()) == digest_of_known_bytes(300_000)
    shown = json.loads(system.run("azcmagent", "show", "-j").succeeded().output)
    assert shown["resourceName"] == "bare"
    record = built.wait_for_record("--target", ALLOWED_TARGETS[0], event="end")
    assert "/machines/bare" in str(record)


def test_the_script_changes_nothing_on_a_machine_that_is_connected(onboarded: Onboarded) -> None:
    assert "nothing was changed" in onboarded.run_script().succeeded().output


def test_a_step_that_fails_is_told_to_the_cloud_through_the_gateway_alone(onboarded: Onboarded) -> None:
    text = onboarded.script.read_text().replace("azcmagent-linux", "azcmagent-lynux")
    text = text.replace("if is_connected; then", "if false; then")
    onboarded.script.with_name("broken.sh").write_text(text)
    assert onboarded.run_script("broken.sh").code == 1
    server = onboarded.stage.control.service
    wait_until(lambda: "DownloadScriptFailed" in server.words, "the report is in the server's log")


def test_installing_again_keeps_what_the_machine_is(onboarded: Onboarded) -> None:
    system = onboarded.system
    home = system.root / "var/opt/azcmagent"
    kept = [home / name for name in ("certs/machine.key", "certs/machine.pem", "agentconfig.json", "localconfig.json")]
    before = [(one.read_bytes(), one.stat().st_mode, one.stat().st_uid) for one in kept]
    ca = system.put(onboarded.stage.control.ca_file)
    name = onboarded.gateway["properties"]["gatewayEndpoint"]
    url = f"https://{name}/azcmagent-linux"
    system.run("curl", "-sSf", "--cacert", ca, "-o", "/root/install.sh", url).succeeded()
    system.run("sh", "/root/install.sh", timeout=180).succeeded()
    assert [(one.read_bytes(), one.stat().st_mode, one.stat().st_uid) for one in kept] == before


def test_removal_keeps_the_identity_and_purging_ends_it(onboarded: Onboarded) -> None:
    home = onboarded.system.root / "var/opt/azcmagent"
    onboarded.system.run("dpkg", "--remove", "azcmagent").succeeded()
    assert not (onboarded.system.root / "usr/bin/azcmagent").is_symlink()
    assert (home / "certs/machine.key").exists()
    onboarded.system.run("dpkg", "--purge", "azcmagent").succeeded()
    assert not home.exists()


def test_the_rpm_says_what_it_needs_and_unpacks(packages: Path, tmp_path: Path) -> None:
    rpm = next(packages.glob("*.rpm"))
    names = execute(["rpm", "-qp", "--queryformat", "%{NAME} %{ARCH} %{LICENSE}", str(rpm)]).succeeded()
    assert names.output.split()[0] == "azcmagent"
    needs = execute(["rpm", "-qp", "--requires", str(rpm)]).succeeded().output
    assert "glibc >= 2." in needs
    assert "python" not in needs
    root = tmp_path / "root"
    alone = ("--nodeps", "--noscripts", "--ignorearch", "--ignoreos", "--nosignature")
    execute(["rpm", "--root", str(root), "--install", *alone, str(rpm)]).succeeded()
    assert execute([str(root / "usr/bin/azcmagent"), "version"]).succeeded().output.startswith("azcmagent version")
