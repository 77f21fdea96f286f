"""The enterprise proxies of a test network, one entry of `KINDS` each: put on a host of its own, and told to the agent.

A further kind is a function that puts its proxy and returns what a machine behind it is to know.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worlds import ntlm_helper
from worlds.kerberos import REALM, Realm
from worlds.network import Host
from worlds.network_inspection import INSPECTION_PORT, InspectingProxy
from worlds.network_services import SQUID_PORT, Squid
from worlds.network_stage import GROUP, Stage

USER, PASSWORD = "user", "SecREt01"
NT_HASH = "cd06ca7c7e10c99b1d33b7485a2ed808"
"""MD4 of the password: the example of every description of NTLM."""
HELPERS = "/usr/lib/squid"


@dataclass(frozen=True)
class Placed:
    """A proxy that runs: what the machine's firewall lets out, and what the machine knows about it."""

    allow: tuple[tuple[Host, int], ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, Host] = field(default_factory=dict)
    """For the machine's hosts file."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """For the agent's commands and services."""
    requests: Callable[[], list[str]] | None = None
    """Lines of its log, as `STATUS METHOD TARGET`; None: there is no proxy, or its log is another one."""
    tries: Callable[[], int] | None = None
    """How often it has refused a password; None where nobody counts."""
    authentication: str = "certificate"
    """How gateways know the machine, as the audit says it."""


Put = Callable[[Stage, Host], Placed]


def no_proxy(stage: Stage, host: Host) -> Placed:
    """The machine reaches the gateway, and nothing else."""
    return Placed(((stage.gateway.host, 443),), names=_gateway_names(stage))


def plain_squid(stage: Stage, host: Host) -> Placed:
    """Squid that asks for nothing."""
    squid = _squid(stage, host)
    return Placed(((host, SQUID_PORT),), {"proxy.url": squid.url}, requests=lambda: squid.requests)


def squid_with_basic(stage: Stage, host: Host) -> Placed:
    """Squid with a password file."""
    file = host.folder / "passwords"
    hashed = host.run("openssl", "passwd", "-apr1", PASSWORD).succeeded().output.strip()
    file.write_text(f"{USER}:{hashed}\n")
    squid = _squid(stage, host, f"auth_param basic program {HELPERS}/basic_ncsa_auth {file}")
    settings = {"proxy.url": squid.url, "proxy.credentials": _credentials(stage, host, f"{USER}:{PASSWORD}")}
    return Placed(((host, SQUID_PORT),), settings, requests=lambda: squid.requests)


def squid_with_ntlm(stage: Stage, host: Host) -> Placed:
    """Squid with a stand-in for a domain; it offers Basic as well, which nobody could pass there."""
    helper = host.folder / "ntlm_helper.py"
    shutil.copy(Path(ntlm_helper.__file__), helper)
    squid = _squid(
        stage,
        host,
        f"auth_param ntlm program /usr/bin/python3 {helper} {USER} {NT_HASH}",
        "auth_param ntlm children 2 startup=1 idle=1",
        f"auth_param basic program {HELPERS}/basic_ncsa_auth /dev/null",
        *_counting(host),
    )
    settings = {"proxy.url": squid.url, "proxy.credentials": _credentials(stage, host, f"CORP\\{USER}:{PASSWORD}")}
    return Placed(((host, SQUID_PORT),), settings, requests=lambda: squid.requests, tries=lambda: _tries(host))


def squid_with_negotiate(stage: Stage, host: Host) -> Placed:
    """Squid in a Kerberos realm; the machine has a keytab, and Kerberos' server is beside Squid."""
    name = "squid.corp.example"
    kerberos = _realm(host)
    service = kerberos.keytab(f"HTTP/{name}")
    shutil.chown(service, "proxy")
    squid = _squid(
        stage,
        host,
        f"auth_param negotiate program {HELPERS}/negotiate_kerberos_auth -k {service} -s HTTP/{name}@{REALM} -t none",
        "auth_param negotiate children 2 startup=1 idle=1",
        environment=kerberos.environment,
    )
    settings = {"proxy.url": f"http://{name}:{SQUID_PORT}", "proxy.keytab": str(kerberos.keytab("machine"))}
    return Placed(
        ((host, SQUID_PORT), (host, 88)),
        settings,
        {name: host},
        {"KRB5_CONFIG": kerberos.environment["KRB5_CONFIG"]},
        lambda: squid.requests,
    )


def https_proxy(stage: Stage, host: Host) -> Placed:
    """Squid that is spoken to inside TLS, with a password."""
    name, port = "secure.corp.example", 3129
    authority = host.network.authority()
    chain, key = authority.issue(name)
    shutil.chown(key, "proxy")
    file = host.folder / "passwords"
    hashed = host.run("openssl", "passwd", "-apr1", PASSWORD).succeeded().output.strip()
    file.write_text(f"{USER}:{hashed}\n")
    squid = _squid(
        stage,
        host,
        f"https_port {host.address}:{port} tls-cert={chain} tls-key={key}",
        f"auth_param basic program {HELPERS}/basic_ncsa_auth {file}",
    )
    settings = {
        "proxy.url": f"https://{name}:{port}",
        "proxy.credentials": _credentials(stage, host, f"{USER}:{PASSWORD}"),
    }
    # As if an admin had put the authority into the system's trust store.
    trusted = {"SSL_CERT_FILE": str(authority.file)}
    return Placed(((host, port),), settings, {name: host}, trusted, lambda: squid.requests)


def inspecting_proxy(stage: Stage, host: Host) -> Placed:
    """mitmproxy, which opens TLS: named while nobody trusts it, and used once machine and gateways allow it."""
    proxy = InspectingProxy(host, stage.name_server.host, stage.control.ca_file).start()
    machine = stage.machine
    machine.host.firewall(allow=[(host, INSPECTION_PORT)])
    machine.azcmagent("config", "set", "proxy.url", proxy.url).succeeded()
    for said in (machine.azcmagent("check"), stage.connect()):
        assert said.code != 0
        for words in ("issuer 'mitmproxy'", "SHA-256", "inspection.ca"):
            assert words in said.text, said.text
    ca = machine.host.folder / "inspection.pem"
    shutil.copy(proxy.ca_file, ca)
    machine.azcmagent("config", "set", "inspection.ca", str(ca)).succeeded()
    refused = machine.azcmagent("check")
    assert refused.code != 0
    assert "--signed-channels allowed" in refused.text, refused.text
    for gateway in stage.operator.ask("gateway", "list"):
        where = ("--name", gateway["name"], "--resource-group", GROUP)
        stage.operator.ask("gateway", "update", *where, "--signed-channels", "allowed")
    settings = {"proxy.url": proxy.url, "inspection.ca": str(ca)}
    return Placed(((host, INSPECTION_PORT),), settings, authentication="signature")


def second_of_two(stage: Stage, host: Host) -> Placed:
    """tinyproxy with a password, named after a proxy that is dead."""
    dns, port = stage.name_server.host, 8888
    host.resolve_by(dns)
    host.firewall(allow=[(stage.gateway.host, 443), (dns, 53, "udp"), (dns, 53, "tcp")])
    log, file = host.folder / "tinyproxy.log", host.folder / "tinyproxy.conf"
    file.write_text(
        f"Port {port}\nListen {host.address}\nConnectPort 443\nBasicAuth {USER} {PASSWORD}\nTimeout 600\n"
        f'LogFile "{log}"\nLogLevel Connect\nMaxClients 100\n'
    )
    host.start("tinyproxy", "tinyproxy", "-d", "-c", str(file)).ready_when(lambda: host.listens(port), "it listens")

    def requests() -> list[str]:
        asked = re.findall(r"Established connection to host \"([^\"]+)\"", log.read_text())
        return [f"200 CONNECT {name}:443" for name in asked]

    settings = {
        "proxy.url": f"http://{host.address}:{SQUID_PORT},http://{host.address}:{port}",
        "proxy.credentials": _credentials(stage, host, f"{USER}:{PASSWORD}"),
    }
    return Placed(((host, SQUID_PORT), (host, port)), settings, requests=requests)


KINDS: Mapping[str, Put] = {
    "none": no_proxy,
    "squid": plain_squid,
    "basic": squid_with_basic,
    "ntlm": squid_with_ntlm,
    "negotiate": squid_with_negotiate,
    "https": https_proxy,
    "second": second_of_two,
    "inspects": inspecting_proxy,
}
"""Every kind of proxy that the matrix goes through, by a name of at most nine letters."""


def _squid(stage: Stage, host: Host, *lines: str, environment: Mapping[str, str] | None = None) -> Squid:
    dns, front = stage.name_server.host, stage.gateway.host
    host.firewall(allow=[(front, 443), (dns, 53, "udp"), (dns, 53, "tcp")])
    return Squid(host, dns, (f".{stage.zone}",), lines, dict(environment or {})).start()


def _counting(host: Host) -> tuple[str, ...]:
    """Return lines for a Squid that notes what it is told."""
    return "logformat told %>Hs [%{Proxy-Authorization}>h]", f"access_log stdio:{host.folder}/squid/told.log told"


def _tries(host: Host) -> int:
    told = (host.folder / "squid/told.log").read_text().splitlines()
    return sum(line.startswith(_WITH_PASSWORD) for line in told)


_WITH_PASSWORD = ("407 [Basic ", "407 [NTLM TlRMTVNTUAAD")
"""Refusals of Basic, and of NTLM's last message."""


def _gateway_names(stage: Stage) -> dict[str, Host]:
    found = stage.operator.ask("gateway", "list")
    return {one["properties"]["gatewayEndpoint"]: stage.gateway.host for one in found}


def _credentials(stage: Stage, host: Host, line: str) -> str:
    file = host.folder / "credentials"
    file.touch(0o600)
    file.write_text(line + "\n")
    return str(file)


def _realm(host: Host) -> Realm:
    """Return a realm whose server runs on the host."""

    def run(argv: tuple[str, ...], environment: dict[str, str]) -> None:
        host.run(*argv, timeout=60, **environment).succeeded()

    realm = Realm(host.folder / "kerberos", host.address, 88, run).make()
    service = host.start("kdc", *realm.server, **realm.environment)
    service.ready_when(lambda: host.listens(88), "it listens")
    return realm
