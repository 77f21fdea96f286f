"""For firewalls that know names: Palo Alto's external dynamic lists, FortiGate's objects, Azure Firewall. Pure."""

import json
from collections.abc import Sequence
from typing import Any

from arcgate.cli.firewall.openings import HTTP, Opening, Rules, by_port, widening_notes
from arcgate.core.patterns import DEFAULT_PORT


def render_paloalto(openings: Sequence[Opening]) -> Rules:
    """Return an external dynamic list of the type URL, an entry a line; networks go to a list of their own."""
    names = [one for one in openings if not one.is_network]
    entries = [f"{one.suffix_form}{_port(one)}/" for one in names]
    notes = widening_notes(names)
    notes += [f"{one.host} is not in it: put it into a list of the type IP." for one in openings if one.is_network]
    return Rules("".join(f"{entry}\n" for entry in dict.fromkeys(entries)), notes)


def _port(one: Opening) -> str:
    return "" if one.port in {HTTP, DEFAULT_PORT} else f":{one.port}"


def render_fortigate(openings: Sequence[Opening]) -> Rules:
    """Return addresses, services and groups, for a policy that allows each group its service."""
    addresses: list[str] = []
    groups: list[str] = []
    services: list[str] = []
    notes: list[str] = []
    for port, group in by_port(openings).items():
        members: list[str] = []
        for one in group:
            if one.is_network and ":" in one.host:
                notes.append(f"{one.host} is not in it: IPv6 networks are objects of their own (address6).")
                continue
            members.append(f"arcgate-{port}-{len(members) + 1}")
            addresses += _fortigate_address(members[-1], one)
        services += _edit(f"arcgate-tcp-{port}", [f"set tcp-portrange {port}"])
        if members:
            groups += _edit(f"arcgate-{port}", ["set member " + " ".join(f'"{name}"' for name in members)])
    sections = (("firewall address", addresses), ("firewall addrgrp", groups), ("firewall service custom", services))
    lines = [line for name, body in sections for line in (f"config {name}", *body, "end")]
    return Rules("\n".join(lines) + "\n", widening_notes(openings) + notes)


def _fortigate_address(name: str, one: Opening) -> list[str]:
    if one.is_network:
        network = one.pattern.host
        assert not isinstance(network, str)
        return _edit(name, ["set type ipmask", f"set subnet {network.network_address} {network.netmask}"])
    return _edit(name, ["set type fqdn", f'set fqdn "{one.suffix_form}"'])


def _edit(name: str, lines: Sequence[str]) -> list[str]:
    return [f'    edit "{name}"', *(f"        {line}" for line in lines), "    next"]


def render_azure_firewall(openings: Sequence[Opening]) -> Rules:
    """Return the body of a firewall policy's rule collection group, as its REST API and templates take it."""
    collections: list[dict[str, Any]] = []
    for name, rules in (("names", _application_rules(openings)), ("networks", _network_rules(openings))):
        if rules:
            collections.append(
                {
                    "ruleCollectionType": "FirewallPolicyFilterRuleCollection",
                    "name": f"arcgate-{name}",
                    "priority": 200 + 10 * len(collections),
                    "action": {"type": "Allow"},
                    "rules": rules,
                }
            )
    document = {"properties": {"priority": 200, "ruleCollections": collections}}
    notes = widening_notes(openings)
    return Rules(json.dumps(document, indent=2) + "\n", [*notes, "Narrow sourceAddresses to your machines' networks."])


def _application_rules(openings: Sequence[Opening]) -> list[dict[str, Any]]:
    return [
        {
            "ruleType": "ApplicationRule",
            "name": f"arcgate-{port}",
            "protocols": [{"protocolType": "Http" if port == HTTP else "Https", "port": port}],
            "sourceAddresses": ["*"],
            "targetFqdns": names,
        }
        for port, group in by_port(openings).items()
        if (names := list(dict.fromkeys(one.suffix_form for one in group if not one.is_network)))
    ]


def _network_rules(openings: Sequence[Opening]) -> list[dict[str, Any]]:
    return [
        {
            "ruleType": "NetworkRule",
            "name": f"arcgate-{port}-networks",
            "ipProtocols": ["TCP"],
            "sourceAddresses": ["*"],
            "destinationAddresses": networks,
            "destinationPorts": [str(port)],
        }
        for port, group in by_port(openings).items()
        if (networks := [one.host for one in group if one.is_network])
    ]
