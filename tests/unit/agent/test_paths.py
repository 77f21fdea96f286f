"""Folders and files on both systems, with the modes that keep secrets in."""

from pathlib import Path

from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform.linux import LinuxPlatform
from arcgate.agent.platform.windows import WindowsPlatform


def test_linux_has_the_folders_of_the_original() -> None:
    paths = AgentPaths.from_environment({}, LinuxPlatform())
    assert str(paths.agent_configuration) == "/var/opt/azcmagent/agentconfig.json"
    assert str(paths.local_configuration) == "/var/opt/azcmagent/localconfig.json"
    assert str(paths.machine_key) == "/var/opt/azcmagent/certs/machine.key"
    assert str(paths.goal) == "/var/opt/azcmagent/state/goal.json"
    assert str(paths.arcproxy_log) == "/var/opt/azcmagent/log/arcproxy.log"
    assert str(paths.tokens) == "/var/opt/azcmagent/tokens"
    assert str(paths.clouds) == "/etc/azcmagent/clouds.d"
    assert not paths.is_moved


def test_windows_has_the_folders_of_the_original() -> None:
    paths = AgentPaths.from_environment({"ProgramData": "D:\\Data"}, WindowsPlatform())
    layout = paths.layout
    assert str(layout.configuration) == "D:\\Data\\AzureConnectedMachineAgent\\Config"
    assert str(layout.certificates) == "D:\\Data\\AzureConnectedMachineAgent\\Certs"
    assert str(layout.log) == "D:\\Data\\AzureConnectedMachineAgent\\Log"
    assert str(layout.tokens) == "D:\\Data\\AzureConnectedMachineAgent\\Tokens"


def test_windows_collects_the_gateway_router_logs() -> None:
    folders = WindowsPlatform().log_folders({})
    assert Path("C:\\ProgramData\\Microsoft\\ArcGatewayRouter") in folders


def test_the_environment_moves_everything(tmp_path: Path) -> None:
    paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path / "home"), "AZCMAGENT_CLOUDS": str(tmp_path)})
    assert paths.is_moved
    assert paths.clouds == tmp_path
    assert paths.machine_key.is_relative_to(tmp_path / "home")


def test_prepared_folders_keep_keys_and_challenges_from_others(tmp_path: Path) -> None:
    paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path / "home")})
    paths.prepare()
    assert paths.layout.certificates.stat().st_mode & 0o007 == 0
    assert paths.tokens.stat().st_mode & 0o007 == 0
    assert paths.layout.state.stat().st_mode & 0o005 == 0o005
