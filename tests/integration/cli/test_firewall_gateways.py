"""`arcgate firewall-rules` asks a control plane whose names must be open."""

from pathlib import Path

import pytest

from arcgate.core.errors import InputError
from worlds.command_line import CommandLine
from worlds.control_plane import BASE, control_plane

pytestmark = pytest.mark.anyio


async def test_gateways_are_found_by_name_or_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with control_plane(tmp_path / "plane") as control:
        command = CommandLine(control, tmp_path / "profile")
        command.install(monkeypatch)
        assert isinstance((await command.run("firewall-rules", "--format", "csv")).exception, InputError)
        await control.group()
        hosts = {}
        for name in ("edge", "other"):
            hosts[name] = (await control.gateway(name)).json()["properties"]["gatewayEndpoint"]
        everything = await command.succeed("firewall-rules", "--format", "paloalto-edl")
        assert set(everything.split()) == {f"{host}/" for host in hosts.values()}
        one = await command.succeed(
            "firewall-rules", "--format", "paloalto-edl", "--gateway", "EDGE", "--names", "seven"
        )
        assert one.split()[0] == f"{hosts['edge']}/"
        assert len(one.split()) == 7
        direct = await command.succeed("firewall-rules", "--format", "csv", "--direct-for", "KeyVault")
        assert "management.arcgate.test,443" in direct
        missing = await command.run("firewall-rules", "--format", "csv", "--gateway", "nobody")
        assert isinstance(missing.exception, InputError)
        assert "edge, other" in missing.exception.remedy


async def test_the_clouds_own_port_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with control_plane(tmp_path / "plane") as control:
        command = CommandLine(control, tmp_path / "profile", f"{BASE}:8443")
        command.install(monkeypatch)
        await control.group()
        host = (await control.gateway("edge")).json()["properties"]["gatewayEndpoint"]
        assert f"{host},8443" in await command.succeed("firewall-rules", "--format", "csv")
        direct = await command.succeed("firewall-rules", "--format", "csv", "--direct-for", "KeyVault")
        assert "management.arcgate.test,8443" in direct
