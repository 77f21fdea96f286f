"""The formats, each compared with a file that a person has looked at; tests of their real readers stand elsewhere."""

import csv
import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from arcgate.cli.firewall.appliances import render_azure_firewall, render_fortigate, render_paloalto
from arcgate.cli.firewall.lists import render_list, render_pac
from arcgate.cli.firewall.nftables import render_nftables
from arcgate.cli.firewall.openings import Opening, Rules
from arcgate.cli.firewall.squid import render_squid
from arcgate.core.patterns import parse_pattern

GOLDEN = Path(__file__).with_name("golden")
TEXTS = (
    "abc.gw.arcgate.example",
    "*.his.arcgate.example",
    "azgn*.bus.example.net",
    "www.example.com:80",
    "*.obo.example.com:8084",
    "10.20.0.0/16:1433",
    "2001:db8::/32",
)
OPENINGS = [Opening(parse_pattern(text), "use, with a comma") for text in TEXTS]
ADDRESSES = {"abc.gw.arcgate.example": [ip_address("203.0.113.7"), ip_address("2001:db8:1::7")]}

RENDERED: dict[str, Rules] = {
    "squid.conf": render_squid(OPENINGS),
    "rules.nft": render_nftables(OPENINGS, ADDRESSES),
    "paloalto.txt": render_paloalto(OPENINGS),
    "fortigate.conf": render_fortigate(OPENINGS),
    "azure-firewall.json": render_azure_firewall(OPENINGS),
    "proxy.pac": render_pac(OPENINGS, "proxy.example.com:3128"),
    "list.csv": render_list(OPENINGS),
}


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_the_text_is_the_golden_one(name: str) -> None:
    assert RENDERED[name].text == (GOLDEN / name).read_bytes().decode()


def test_what_a_format_cannot_say_is_told() -> None:
    notes = {name: " ".join(rules.notes) for name, rules in RENDERED.items()}
    assert notes["squid.conf"] == notes["list.csv"] == ""
    assert "*.his.arcgate.example:443 is not in it: it stands for many names" in notes["rules.nft"]
    assert "www.example.com:80 is not in it: it has no address now" in notes["rules.nft"]
    for name in ("paloalto.txt", "fortigate.conf", "azure-firewall.json"):
        assert "azgn*.bus.example.net became *.bus.example.net" in notes[name]
    assert "10.20.0.0/16 is not in it" in notes["paloalto.txt"]
    assert "2001:db8::/32 is not in it" in notes["fortigate.conf"]
    assert "10.20.0.0/16 is not in it" in notes["proxy.pac"]


def test_the_list_is_read_by_a_reader_of_csv() -> None:
    rows = list(csv.DictReader(RENDERED["list.csv"].text.splitlines()))
    assert [row["host"] for row in rows] == [opening.host for opening in OPENINGS]
    assert rows[0]["use"] == "use, with a comma"


def test_azure_firewall_gets_names_and_networks_in_collections_of_one_kind_each() -> None:
    collections = json.loads(RENDERED["azure-firewall.json"].text)["properties"]["ruleCollections"]
    kinds = [{rule["ruleType"] for rule in one["rules"]} for one in collections]
    assert kinds == [{"ApplicationRule"}, {"NetworkRule"}]
    assert len({one["priority"] for one in collections}) == 2
    fqdns = [name for rule in collections[0]["rules"] for name in rule["targetFqdns"]]
    assert not any("*" in name.removeprefix("*.") for name in fqdns)


def test_nothing_to_open_makes_files_without_rules() -> None:
    assert "http_access" not in render_squid([]).text.replace("'http_access deny all'", "")
    assert "elements" not in render_nftables([], {}).text
    assert json.loads(render_azure_firewall([]).text)["properties"]["ruleCollections"] == []
