"""What `arcgate firewall-rules` writes, read by the programs that it is for."""

import subprocess
from pathlib import Path

import pytest
import quickjs

from arcgate.cli.firewall.lists import render_pac
from arcgate.cli.firewall.openings import Opening, for_domain, for_features
from arcgate.cli.firewall.squid import render_squid
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.names import HostName
from arcgate.core.patterns import parse_pattern

EVERYTHING = [
    *for_domain(HostName("arcgate.example")),
    *for_features(shipped_catalogue(), shipped_catalogue().names),
    Opening(parse_pattern("10.0.0.0/8:1433"), "own"),
    Opening(parse_pattern("[2001:db8::]/32"), "own"),
]


def test_squid_takes_the_rules_of_the_whole_catalogue_without_a_word(tmp_path: Path) -> None:
    file = tmp_path / "squid.conf"
    file.write_text(render_squid(EVERYTHING).text)
    done = subprocess.run(
        ["/usr/sbin/squid", "-k", "parse", "-f", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if any(word in line for word in ("ERROR", "WARNING", "FATAL"))]
    assert (done.returncode, said) == (0, [])


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("management.arcgate.example", "PROXY proxy.example.com:3128"),
        ("EastUS.HIS.arcgate.example.", "PROXY proxy.example.com:3128"),
        ("azgn7.servicebus.windows.net", "PROXY proxy.example.com:3128"),
        ("his.arcgate.example", "DIRECT"),
        ("xhis.arcgate.example", "DIRECT"),
        ("www.example.org", "DIRECT"),
    ],
)
def test_an_engine_of_pac_files_answers_for_hosts(host: str, answer: str) -> None:
    engine = quickjs.Context()
    engine.eval(render_pac(EVERYTHING, "proxy.example.com:3128").text)
    assert engine.eval(f"FindProxyForURL('https://{host}/', '{host}')") == answer
