"""arcgate firewall-rules: whose names it writes, and what it asks for."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from arcgate.cli.firewall_command import FORMATS, firewall_command, resolve
from arcgate.core.errors import Hop, HopError, InputError
from arcgate.core.names import Address, HostName, parse_host


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(firewall_command, arguments)


def test_a_gateways_host_needs_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCGATE_CONFIG_DIR", str(tmp_path))
    result = _run("--format", "csv", "--gateway", "abc.gw.arcgate.example", "def.gw.arcgate.example:8443")
    assert result.exit_code == 0
    assert [line.split(",")[:2] for line in result.stdout.splitlines()[1:]] == [
        ["abc.gw.arcgate.example", "443"],
        ["def.gw.arcgate.example", "8443"],
    ]


def test_seven_names_are_written_when_they_are_asked_for() -> None:
    result = _run("--format", "paloalto-edl", "--gateway", "abc.gw.arcgate.example", "--names", "seven")
    assert len(result.stdout.splitlines()) == 7


def test_machines_without_a_gateway_get_the_clouds_names_and_those_of_features() -> None:
    result = _run("--format", "squid", "--direct-for", "ArcData", "KeyVault", "--domain", "arcgate.example")
    assert result.exit_code == 0
    assert "management.arcgate.example" in result.stdout
    assert r"arcdataservices\.com" in result.stdout


def test_what_the_format_cannot_say_stands_on_standard_error() -> None:
    result = _run("--format", "fortigate", "--direct-for", "ArcCore", "--domain", "arcgate.example")
    assert "Note: azgn*.servicebus.windows.net became *.servicebus.windows.net" in result.stderr
    assert "Note:" not in result.stdout


def test_a_pac_file_needs_its_proxy() -> None:
    assert _run("--format", "pac", "--gateway", "abc.gw.arcgate.example").exit_code == 2
    result = _run("--format", "pac", "--gateway", "abc.gw.arcgate.example", "--proxy", "proxy.example.com")
    assert "PROXY proxy.example.com:3128" in result.stdout


@pytest.mark.parametrize("form", FORMATS)
def test_an_unknown_feature_is_an_input_error_in_every_format(form: str) -> None:
    result = _run("--format", form, "--direct-for", "Nothing", "--domain", "arcgate.example", "--proxy", "p:1")
    assert isinstance(result.exception, InputError)


@pytest.mark.anyio
async def test_names_that_do_not_resolve_are_left_out() -> None:
    class Table:
        async def resolve(self, host: HostName) -> list[Address]:
            if host == "a.example.com":
                found = parse_host("203.0.113.7")
                assert not isinstance(found, str)
                return [found]
            raise HopError(Hop.DNS, "DNS_FAILED", "No.")

    assert list(await resolve(["a.example.com", "b.example.com"], Table())) == ["a.example.com"]
