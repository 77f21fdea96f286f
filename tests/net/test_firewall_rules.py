"""nft reads what `arcgate firewall-rules` writes, in a network namespace of its own."""

import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from arcgate.cli.firewall.nftables import render_nftables
from arcgate.cli.firewall.openings import Opening, for_domain
from arcgate.core.names import HostName
from arcgate.core.patterns import parse_pattern

pytestmark = pytest.mark.namespaced


def test_nft_takes_the_sets_and_the_chain(tmp_path: Path) -> None:
    openings = [
        *for_domain(HostName("arcgate.example")),
        *(Opening(parse_pattern(text), "own") for text in ("10.0.0.0/8:1433", "10.1.0.0/16:1433", "[2001:db8::]/32")),
    ]
    names = [one.host for one in openings if not one.is_network and not one.has_star]
    addresses = [ip_address("203.0.113.7"), ip_address("2001:db8:1::7")]
    file = tmp_path / "rules.nft"
    file.write_text(render_nftables(openings, dict.fromkeys(names, addresses)).text)
    done = subprocess.run(
        ["unshare", "--net", "nft", "--check", "--file", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
