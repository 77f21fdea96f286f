"""The agent's package on a minimal system without Python: installed through the gateway alone, connected, at work."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from worlds.bare_system import BareSystem, bare_system, build_packages
from worlds.network_processes import execute
from worlds.network_services import digest, digest_of_known_bytes
from worlds.network_stage import ALLOWED_TARGETS, Stage, stage
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(400)


@dataclass
class Installed:
    """A minimal system whose agent came from the gateway."""

    stage: Stage
    system: BareSystem
    gateway: dict[str, str]
    name: str

    def install(self) -> str:
        """Run the installer that the gateway gives."""
        ca = self.system.put(self.stage.control.ca_file)
        url = f"https://{self.name}/azcmagent-linux"
        self.system.run("curl", "-sSf", "--cacert", ca, "-o", "/root/install.sh", url).succeeded()
        return self.system.run("sh", "/root/install.sh", timeout=180).succeeded().output

    def installed_version(self) -> str:
        asked = self.system.run("dpkg-query", "--show", "--showformat=${Version} ${Status}", "azcmagent")
        return asked.succeeded().output


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def installed(packages: Path) -> Iterator[Installed]:
    with stage(squid=False) as built, bare_system(built.machine.host) as system:
        shutil.copytree(packages, built.control.state / "packages")
        gateway = built.create_gateway("edge")
        found = Installed(built, system, gateway, gateway["properties"]["gatewayEndpoint"])
        system.know(found.name, built.gateway.host)
        for target in ALLOWED_TARGETS:
            system.know(target, built.target.host)
        found.install()
        yield found


def test_the_agent_needs_no_python_on_the_machine(installed: Installed) -> None:
    root = installed.system.root
    assert not [one for one in (root / "usr/bin").iterdir() if one.name.startswith("python")]
    assert installed.installed_version().endswith("install ok installed")
    said = installed.system.run("/usr/bin/azcmagent", "version").succeeded().output
    assert installed.installed_version().split()[0] in said


def test_it_connects_and_carries_the_traffic_of_curl(installed: Installed) -> None:
    built, system = installed.stage, installed.system
    admin = built.control.initial_admin
    role = ("--name", "bare", "--role", "Azure Connected Machine Onboarding")
    made = built.operator.ask("service-principal", "create", *role)
    secret = system.root / "root/secret.json"
    secret.touch(mode=0o600)
    secret.write_text(json.dumps({"service-principal-secret": made["clientSecret"]}))
    who = (
        "--service-principal-id",
        made["clientId"],
        "--tenant-id",
        admin["tenantId"],
        "--config",
        "/root/secret.json",
    )
    where = ("--subscription-id", admin["subscriptionId"], "--resource-group", "servers", "--location", "eastus")
    what = ("--resource-name", "bare", "--gateway-id", installed.gateway["id"])
    system.run("azcmagent", "connect", *who, *where, *what, timeout=120).succeeded()
    system.run("azcmagent", "config", "set", "connection.type", "gateway").succeeded()

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


def test_installing_again_keeps_what_the_machine_is(installed: Installed) -> None:
    home = installed.system.root / "var/opt/azcmagent"
    kept = [home / name for name in ("certs/machine.key", "certs/machine.pem", "agentconfig.json", "localconfig.json")]
    before = [(one.read_bytes(), one.stat().st_mode, one.stat().st_uid) for one in kept]
    installed.install()
    assert [(one.read_bytes(), one.stat().st_mode, one.stat().st_uid) for one in kept] == before


def test_removal_keeps_the_identity_and_purging_ends_it(installed: Installed) -> None:
    home = installed.system.root / "var/opt/azcmagent"
    installed.system.run("dpkg", "--remove", "azcmagent").succeeded()
    assert not (installed.system.root / "usr/bin/azcmagent").is_symlink()
    assert (home / "certs/machine.key").exists()
    installed.system.run("dpkg", "--purge", "azcmagent").succeeded()
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
