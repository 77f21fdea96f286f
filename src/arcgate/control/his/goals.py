"""What the control plane wants of a machine, as a pure function of published entries and settings.

A goal's revision is the highest among the entries that it is made of, removed ones included; so it rises
whenever its content changes, and stands still while only others' entries change.
"""

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from arcgate.core.catalogue import Catalogue
from arcgate.core.configuration import Configuration
from arcgate.core.names import HostName
from arcgate.core.patterns import DEFAULT_PORT, EndpointPattern, parse_pattern
from arcgate.core.policy_settings import Mode
from arcgate.core.routing import Goal
from arcgate.core.rules import rules_of
from arcgate.core.snapshot import Entry, Gateway, Kind, Snapshot, parse_endpoint_set, parse_gateway, parse_machine


def goal_of(
    machine: Entry,
    gateway: Entry | None,
    others: Iterable[Entry],
    catalogue: Catalogue,
    configuration: Configuration,
) -> Goal:
    """Return the goal of a machine from its entry, its gateway's, and the cloud's and endpoint sets' entries."""
    assert machine.body is not None
    others = tuple(others)
    shared = [entry for entry in others if entry.kind is Kind.CLOUD]
    control = control_patterns(configuration)
    authorities = next((entry.body.get("authorities", "") for entry in shared if entry.body is not None), "")
    prefix = parse_machine(machine.key, machine.body).gateway
    if prefix is None or gateway is None or gateway.body is None:
        made_of = [machine, *shared, *([gateway] if prefix is not None and gateway is not None else [])]
        return Goal(revision=_highest(made_of), control=control, authorities=authorities)
    found = parse_gateway(gateway.key, gateway.body)
    sets = [entry for entry in others if entry.kind is Kind.ENDPOINT_SET and _concerns(entry, found)]
    return Goal(
        revision=_highest([machine, gateway, *shared, *sets]),
        gateway_id=found.resource_id,
        gateway_host=f"{found.prefix}{configuration.gateway_suffix}",
        gateway_port=configuration.cloud.public_port,
        allowed=_allowed(found, sets, catalogue),
        control=control,
        bypass=tuple(HostName(name) for name in gateway.body.get("bypass", ())),
        takes_all=found.policy.mode is Mode.AUDIT,
    )


def control_patterns(configuration: Configuration) -> tuple[EndpointPattern, ...]:
    """Return the control plane's names as patterns, with the public port unless it is 443."""
    port = configuration.cloud.public_port
    suffix = "" if port == DEFAULT_PORT else f":{port}"
    domain = configuration.cloud.domain
    hosts = (f"management.{domain}", f"login.{domain}", f"*.his.{domain}", f"packages.{domain}", f"download.{domain}")
    return tuple(parse_pattern(f"{host}{suffix}") for host in hosts)


def catalogue_mark(catalogue: Catalogue) -> str:
    """Return a digest of the catalogue's patterns; published, so that a new catalogue raises goals' revisions."""
    features = (f"{one.name} {endpoint}\n" for one in catalogue.features.values() for endpoint in one.endpoints)
    scenarios = (f"{one.name} {endpoint.text}\n" for one in catalogue.scenarios.values() for endpoint in one.endpoints)
    return hashlib.sha256("".join((*features, *scenarios)).encode()).hexdigest()[:16]


def _allowed(gateway: Gateway, sets: list[Entry], catalogue: Catalogue) -> tuple[EndpointPattern, ...]:
    parsed: Mapping[str, Any] = MappingProxyType(
        {entry.key: parse_endpoint_set(entry.key, entry.body) for entry in sets if entry.body is not None}
    )
    # What a machine's groups take away stays with the gateway too, which refuses it: nothing of it may go directly.
    names = (*gateway.allowed_features, *gateway.policy.audited_features)
    rules = rules_of(gateway, Snapshot(endpoint_sets=parsed), catalogue, names)
    return tuple({rule.pattern.text: rule.pattern for rule in rules}.values())


def _concerns(entry: Entry, gateway: Gateway) -> bool:
    wanted = {name.lower() for name in (*gateway.allowed_features, *gateway.policy.audited_features)}
    name = entry.key.rpartition("/")[2]
    if "*" not in wanted and name not in wanted:
        return False
    # A removed set no longer says whose it was; counting it too often only repeats an unchanged goal.
    return entry.body is None or entry.body["tenantId"] == gateway.tenant_id


def _highest(entries: Iterable[Entry]) -> int:
    return max(entry.revision for entry in entries)
