"""A file for nft. It knows addresses only, so names are resolved here and now, and stars can't be said. Pure."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from arcgate.cli.firewall.openings import Opening, Rules, by_port
from arcgate.core.names import Address

Block = IPv4Network | IPv6Network

HEAD = """# What connected machines need, by the addresses that the names had when this was written: renew it often.
# Load it with 'nft -f', and jump to the chain from a chain of this table that has a hook.
table inet arcgate {"""


def render_nftables(openings: Sequence[Opening], addresses: Mapping[str, Sequence[Address]]) -> Rules:
    """Return sets and a chain; `addresses` are those of the exact names."""
    sets: list[str] = []
    rules: list[str] = []
    notes: list[str] = []
    for port, group in by_port(openings).items():
        blocks: list[Block] = []
        for one in group:
            found = _blocks(one, addresses)
            if not found:
                reason = "stands for many names" if one.has_star else "has no address now"
                notes.append(f"{one.host}:{port} is not in it: it {reason}, and nftables knows addresses only.")
            blocks += found
        for version, family, kind in ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr")):
            chosen = sorted({str(block) for block in blocks if block.version == version})
            if chosen:
                name = f"open{version}_{port}"
                sets += _set(name, kind, chosen)
                rules.append(f"        {family} daddr @{name} tcp dport {port} accept")
    return Rules("\n".join([HEAD, *sets, "    chain open {", *rules, "    }", "}", ""]), notes)


def _blocks(one: Opening, addresses: Mapping[str, Sequence[Address]]) -> list[Block]:
    host = one.pattern.host
    if not isinstance(host, str):
        return [host]
    return [
        IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(int(address))
        for address in addresses.get(host, ())
    ]


def _set(name: str, kind: str, elements: Sequence[str]) -> list[str]:
    return [
        f"    set {name} {{",
        f"        type {kind}",
        "        flags interval",
        "        auto-merge",
        f"        elements = {{ {', '.join(elements)} }}",
        "    }",
    ]
