"""What a sandbox is made of: its options, endpoint sets and server configuration. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from arcgate.core.configuration import (
    CloudSettings,
    Configuration,
    GatewaySettings,
    ListenSettings,
    LogSettings,
)
from arcgate.core.names import Target

DOMAIN = "sandbox.arcgate.test"
CLOUD_NAME = "ArcgateSandbox"
NAME = "sandbox"
"""Name of the resource group, the gateway and the first endpoint set."""
LOCATION = "eastus"
MACHINE = "sandbox-machine"
TARGET_HOST = "target.sandbox-demo.test"
"""The demonstration's own target."""
TRAP_HOST = "trap.sandbox-demo.test"
"""An allowed name that resolves to the address at which clouds hand out credentials."""
MACHINE_TUNNELS = 20_000
"""The one machine may have all that a worker carries."""

DRAIN_TIMEOUT = 1.0
"""Seconds that tunnels get at the end: the whole clean-up must fit into ten."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """What `arcgate sandbox` was asked for."""

    allow: tuple[Target, ...] = ()
    networks: tuple[Network, ...] = ()
    enterprise_proxy: str = ""
    dns: str = ""
    workers: int = 1
    default_ports: bool = False
    hosts: dict[str, str] = field(default_factory=dict)
    demonstration: tuple[Target, ...] = ()
    """Targets of our own that are private on purpose, whatever else is allowed."""


@dataclass(frozen=True, slots=True)
class EndpointSetPlan:
    """An endpoint set to create."""

    name: str
    endpoints: tuple[str, ...]
    allow_private: bool


def plan_endpoint_sets(options: SandboxOptions) -> list[EndpointSetPlan]:
    """Return the endpoint sets of the options: private targets and others apart.

    A name may only lead to a private address when no network was named: who names networks means those alone.
    """
    private = [one for one in options.allow if one.is_literal or not options.networks]
    public = [one for one in options.allow if one not in private]
    networks = [f"[{one}]:*" if one.version == 6 else f"{one}:*" for one in options.networks]
    sets = [
        ([one.authority for one in private], True),
        ([*(one.authority for one in public), *networks], False),
        ([one.authority for one in options.demonstration], True),
    ]
    wanted = [(tuple(endpoints), is_private) for endpoints, is_private in sets if endpoints]
    names = [NAME, *(f"{NAME}-{number}" for number in range(2, len(wanted) + 1))]
    return [EndpointSetPlan(name, *one) for name, one in zip(names, wanted, strict=False)]


def plan_configuration(options: SandboxOptions, state: Path, addresses: Iterable[str]) -> Configuration:
    """Return the server's configuration; port 0 stands for one that is free."""
    return Configuration(
        state_dir=state,
        cloud=CloudSettings(name=CLOUD_NAME, domain=DOMAIN, extra_names=("localhost",)),
        listen=ListenSettings(addresses=tuple(addresses), port=443 if options.default_ports else 0),
        gateway=GatewaySettings(
            workers=options.workers,
            machine_tunnels=MACHINE_TUNNELS,
            open_networks=options.networks,
            dns_servers=(options.dns,) if options.dns else (),
            hosts=options.hosts,
            drain_timeout=DRAIN_TIMEOUT,
            incoming_wait=3,
            node_name="sandbox",
        ),
        log=LogSettings(level="warning"),
    )


def cloud_definition(configuration: Configuration, ca_pem: str, gateway_host: str, address: str) -> dict[str, str]:
    """Return the agent's cloud definition: one name, reached at one address."""
    port = configuration.cloud.public_port
    return {
        "name": configuration.cloud.name,
        "resourceManager": configuration.url_of(f"management.{DOMAIN}"),
        "login": configuration.url_of(f"login.{DOMAIN}"),
        "his": configuration.url_of(f"gbl.his.{DOMAIN}"),
        "packages": configuration.url_of(f"packages.{DOMAIN}"),
        "domain": DOMAIN,
        "ca": ca_pem,
        "front": f"{gateway_host}:{port}",
        "address": address,
    }
