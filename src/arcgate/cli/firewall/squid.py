"""Lines for squid.conf. Pure."""

from collections.abc import Sequence

from arcgate.cli.firewall.openings import HTTP, Opening, Rules, by_port

HEAD = (
    "# What connected machines need. Put it above 'http_access deny all'; restrict it to their networks by an acl src."
)


def render_squid(openings: Sequence[Opening]) -> Rules:
    """Return access lists and rules that allow exactly the openings: exact names, and expressions for stars."""
    lines = [HEAD]
    for port, group in by_port(openings).items():
        lines += ["", f"acl arcgate_port_{port} port {port}"]
        for name, kind, values in _lists(port, group):
            if values:
                lines += [f"acl {name} {kind} {value}" for value in values]
                method = "" if port == HTTP else "CONNECT "
                lines.append(f"http_access allow {method}arcgate_port_{port} {name}")
    return Rules("\n".join(lines) + "\n")


def _lists(port: int, group: Sequence[Opening]) -> list[tuple[str, str, list[str]]]:
    exact = [one.host for one in group if not one.is_network and not one.has_star]
    stars = [one.expression for one in group if one.has_star]
    networks = [one.host for one in group if one.is_network]
    return [
        (f"arcgate_names_{port}", "dstdomain -n", exact),
        (f"arcgate_patterns_{port}", "dstdom_regex -n -i", stars),
        (f"arcgate_networks_{port}", "dst -n", networks),
    ]
