"""A PAC file, and CSV. Pure."""

import json
from collections.abc import Sequence

from arcgate.cli.firewall.openings import Opening, Rules
from arcgate.cli.output import render_csv

PAC = """// What connected machines need goes through the enterprise proxy, everything else goes directly.
var arcgateNames = %s;
var arcgatePatterns = %s;

function FindProxyForURL(url, host) {
    host = host.toLowerCase().replace(/\\.$/, "");
    if (arcgateNames.indexOf(host) >= 0) {
        return %s;
    }
    for (var i = 0; i < arcgatePatterns.length; i++) {
        if (new RegExp(arcgatePatterns[i]).test(host)) {
            return %s;
        }
    }
    return "DIRECT";
}
"""


def render_pac(openings: Sequence[Opening], proxy: str) -> Rules:
    """Return a proxy auto-configuration file that sends the openings to the proxy, HOST:PORT."""
    names = list(dict.fromkeys(one.host for one in openings if not one.is_network and not one.has_star))
    patterns = list(dict.fromkeys(one.expression for one in openings if one.has_star))
    answer = json.dumps(f"PROXY {proxy}")
    notes = [f"{one.host} is not in it: the file knows names only." for one in openings if one.is_network]
    text = PAC % (json.dumps(names, indent=4), json.dumps(patterns, indent=4), answer, answer)
    return Rules(text, notes)


def render_list(openings: Sequence[Opening]) -> Rules:
    """Return CSV with a row for each opening."""
    rows = [[one.host, one.port, "TCP", one.use] for one in openings]
    return Rules(render_csv(["host", "port", "protocol", "use"], rows))
