"""What people do with machines, by real clients: each workload runs its clients and looks at what came of it.

A workload raises AssertionError when a client fails, or when what it was told or has sent is not what it should be.
Every client takes Arc Proxy as its documents say: by its own setting, or by the environment that its service gets.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from worlds.azure_clients import ENVIRONMENT
from worlds.network_cloud import ARC_PROXY
from worlds.network_processes import Finished
from worlds.network_services import digest_of_known_bytes
from worlds.network_vendor import GREETING, PACKAGE
from worlds.scenario_network import ScenarioNetwork, Workload, host_of, scenario_named, target_of
from worlds.vendor import telemetry, vault

CLIENTS = Path(__file__).parents[1] / "net" / "clients"
BULK, UPLOAD = 20_000_000, 5_000_000
INGESTION = host_of("<dce>.<region>.ingest.monitor.azure.com")
WORKSPACE = host_of("<workspace-id>.ods.opinsights.azure.com")


def run_script(net: ScenarioNetwork, name: str, *arguments: str) -> Finished:
    """Run one of the scripts with the official libraries on the machine."""
    script = (str(ENVIRONMENT / "bin/python"), str(CLIENTS / f"{name}.py"), *arguments)
    return net.machine.host.run(*script, HTTPS_PROXY=ARC_PROXY, REQUESTS_CA_BUNDLE=str(net.ca)).succeeded()


def monitor(net: ScenarioNetwork) -> None:
    """Get rules, send logs by the ingestion library, a metric by OpenTelemetry's exporter, rows to the workspace."""
    for host in ("global.handler.control.monitor.azure.com", host_of("<region>.handler.control.monitor.azure.com")):
        assert json.loads(net.curl(f"https://{host}/").body) == {"configurations": []}
    metric = json.dumps({"data": [1]})
    net.curl("--data", metric, f"https://{host_of('<region>.monitoring.azure.com')}/metrics")
    net.curl("https://management.azure.com/")
    _send_logs(net)
    run_script(net, "metrics", f"https://{INGESTION}/v1/metrics")
    assert net.vendor.exchanges(INGESTION)[-1]["holds"]


def sentinel(net: ScenarioNetwork) -> None:
    """Send security logs by the ingestion library, and rows to the workspace."""
    for host in ("global.handler.control.monitor.azure.com", host_of("<region>.handler.control.monitor.azure.com")):
        net.curl(f"https://{host}/")
    _send_logs(net)


def _send_logs(net: ScenarioNetwork) -> None:
    run_script(net, "logs", f"https://{INGESTION}")
    run_script(net, "workspace", WORKSPACE, telemetry.WORKSPACE_KEY)
    assert [one.get("rows") for one in net.vendor.exchanges(INGESTION) if "/dataCollectionRules/" in one["path"]][
        -1
    ] == 300
    assert net.vendor.exchanges(WORKSPACE)[-1]["rows"] == 50


def defender(net: ScenarioNetwork) -> None:
    """Fetch signatures, ask the cloud and upload a sample, with nothing but the client's own setting for the proxy."""
    sample = net.new_file(b"a suspicious file" * 60_000)
    signatures = net.curl("https://definitionupdates.microsoft.com/bytes/3000000")
    assert hashlib.sha256(signatures.body).hexdigest() == digest_of_known_bytes(3_000_000)
    targets = [target_of(one.text) for one in scenario_named("DefenderForEndpoint").endpoints]
    assert net.reach(*targets) == dict.fromkeys(targets, 200)
    samples = host_of("automatedirstrprd*.blob.core.windows.net")
    sent = net.curl("--upload-file", str(sample), f"https://{samples}/upload")
    assert json.loads(sent.body)["sha256"] == hashlib.sha256(sample.read_bytes()).hexdigest()


def updates(net: ScenarioNetwork) -> None:
    """Get updates as Linux machines do, and ask the names that Windows asks, some by plain HTTP."""
    apt(net)
    dnf(net)
    targets = [target_of(one.text) for one in scenario_named("UpdateManager").endpoints]
    answers = net.reach(*targets)
    assert answers.pop("packages.microsoft.com:443") == 404
    assert set(answers.values()) == {200}


def apt(net: ScenarioNetwork) -> None:
    """Read the signed index and fetch a package by apt, with folders and sources of its own."""
    root = net.new_folder()
    for name in ("etc/apt", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    source = f"deb [signed-by={net.vendor.key_ring}] https://packages.microsoft.com/ ./\n"
    (root / "etc/apt/sources.list").write_text(source)
    settings = {
        "Dir": f"{root}/",
        "Dir::State::status": f"{root}/var/lib/dpkg/status",
        "Dir::Log": f"{root}/",
        "Acquire::https::Proxy": ARC_PROXY,
        "Acquire::https::CAInfo": str(net.ca),
        "Acquire::Languages": "none",
        "Acquire::Retries": "0",
        "APT::Sandbox::User": "root",
    }
    configuration = net.new_file("".join(f'{name} "{value}";\n' for name, value in settings.items()).encode())

    def apt_get(*arguments: str) -> Finished:
        return net.machine.host.run("apt-get", "--quiet", "--yes", *arguments, APT_CONFIG=str(configuration))

    updated = apt_get("update", "--error-on=any").succeeded()
    assert "packages.microsoft.com" in updated.output
    apt_get("install", "--download-only", PACKAGE).succeeded()
    (package,) = (root / "var/cache/apt/archives").glob("*.deb")
    assert hashlib.sha256(package.read_bytes()).hexdigest() == net.vendor.package_digest


def dnf(net: ScenarioNetwork) -> None:
    """Verify the signed index of another repository and fetch a package by dnf, with folders of its own."""
    root = net.new_folder()
    settings = {
        "[main]": "",
        "reposdir": root / "repositories",
        "cachedir": root / "cache",
        "persistdir": root / "state",
        "logdir": root,
        "proxy": ARC_PROXY,
        "sslcacert": net.ca,
        "retries": 1,
        "[vendor]": "",
        "name": "vendor",
        "baseurl": "https://packages.microsoft.com/rpm",
        "repo_gpgcheck": 1,
        "gpgcheck": 0,
        "gpgkey": f"file://{net.vendor.armoured_key}",
    }
    lines = (name if name.startswith("[") else f"{name}={value}" for name, value in settings.items())
    configuration = net.new_file("\n".join((*lines, "")).encode())
    where = ("--config", str(configuration), "--installroot", str(root / "system"), "--releasever", "1")
    fetch = ("install", "--downloadonly", "--downloaddir", str(root / "packages"), PACKAGE)
    net.machine.host.run("dnf", "--quiet", "--assumeyes", *where, *fetch).succeeded()
    (package,) = (root / "packages").glob("*.rpm")
    assert hashlib.sha256(package.read_bytes()).hexdigest() == net.vendor.rpm_digest


def sql(net: ScenarioNetwork) -> None:
    """Move bulk both ways by a client that knows nothing newer than TLS 1.2."""
    url = f"https://{host_of('*.<region>.arcdataservices.com')}"
    old = ("--verbose", "--tls-max", "1.2")
    got = net.curl(*old, f"{url}/bytes/{BULK}")
    assert "SSL connection using TLSv1.2" in got.errors
    assert hashlib.sha256(got.body).hexdigest() == digest_of_known_bytes(BULK)
    report = net.new_file(b"inventory\n" * (UPLOAD // 10))
    sent = net.curl(*old, "--upload-file", str(report), f"{url}/upload")
    assert json.loads(sent.body)["sha256"] == hashlib.sha256(report.read_bytes()).hexdigest()


def key_vault(net: ScenarioNetwork) -> None:
    """Set a secret and get it back, after the vault's challenge and a sign-in."""
    url, value = f"https://{host_of('<vault>.vault.azure.net')}", f"value-{next(net.stage.net.numbers)}"
    answer = run_script(net, "vault", url, vault.TENANT, vault.CLIENT_SECRET, value)
    assert answer.output == value
    assert 401 in [one["status"] for one in net.vendor.exchanges(host_of("<vault>.vault.azure.net"))]


def container_registry(net: ScenarioNetwork) -> None:
    """Pull an image of one's own, and one of the vendor's, whose layers come from another name."""
    certificates = net.new_folder()
    (certificates / "ca.crt").write_text(net.ca.read_text())
    for registry in (host_of("<registry>.azurecr.io"), "mcr.microsoft.com"):
        folder = net.new_folder()
        copy = ("skopeo", "--insecure-policy", "copy", "--src-cert-dir", str(certificates))
        where = (f"docker://{registry}/tools/hello:1", f"dir:{folder}")
        net.machine.host.run(*copy, *where, HTTPS_PROXY=ARC_PROXY).succeeded()
        digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
        assert digests >= {file.name.partition(":")[2] for file in (net.vendor.goods / "image").glob("sha256:*")}


def git(net: ScenarioNetwork) -> None:
    """Clone, commit and push."""
    folder = net.new_folder() / "code"
    settings = {
        "http.proxy": ARC_PROXY,
        "http.sslCAInfo": str(net.ca),
        "init.defaultBranch": "main",
        "user.name": "somebody",
        "user.email": "somebody@example.org",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def run(*arguments: str) -> Finished:
        return net.machine.host.run("git", *options, *arguments).succeeded()

    run("clone", "--quiet", "https://dev.azure.com/team/_git/code", str(folder))
    (folder / f"file-{next(net.stage.net.numbers)}").write_bytes(GREETING)
    run("-C", str(folder), "add", ".")
    run("-C", str(folder), "commit", "--quiet", "--message", "Add a file")
    run("-C", str(folder), "push", "--quiet", "origin", "HEAD:main")
    assert net.vendor.head_of_repository() == run("-C", str(folder), "rev-parse", "HEAD").output.strip()


def web_socket(net: ScenarioNetwork, pause: float = 0.05, pings: int = 3) -> None:
    """Hold a WebSocket that is idle but for its pings."""
    url = f"wss://{host_of('<namespace>.servicebus.windows.net')}/$hc/hybrid"
    answer = run_script(net, "web_socket", url, "127.0.0.1", "40343", str(net.ca), str(pause), str(pings))
    assert answer.output.split("\n") == ["first", *["pong True"] * pings, "last", ""]


WORKLOADS: Mapping[str, Workload] = MappingProxyType(
    {
        "AzureMonitorAgent": monitor,
        "Sentinel": sentinel,
        "DefenderForEndpoint": defender,
        "UpdateManager": updates,
        "SqlServer": sql,
        "KeyVault": key_vault,
        "ContainerRegistry": container_registry,
        "Git": git,
        "RelayedWebSockets": web_socket,
    }
)
"""Workloads by the scenario that they belong to."""
