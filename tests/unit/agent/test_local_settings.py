"""localconfig.json: changes, precedence, and the view that services get of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.errors import AzcmError
from arcgate.agent.local_settings import SettingsFile, load_settings, settings_of
from arcgate.agent.paths import AgentPaths
from arcgate.core.errors import StateError
from arcgate.core.names import parse_target
from arcgate.core.routing import ConnectionType


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    found = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path)})
    found.prepare()
    return found


def test_a_machine_without_settings_has_the_defaults(paths: AgentPaths) -> None:
    settings = load_settings(paths, {})
    assert settings.connection_type is ConnectionType.DEFAULT
    assert settings.proxy_url is None
    assert settings.arcproxy_port == 40343
    assert settings.problems == ()


def test_what_was_set_is_read_back_typed(paths: AgentPaths) -> None:
    file = SettingsFile(paths)
    file.set("connection.type", "gateway")
    file.set("arcproxy.port", "50000")
    file.set("gateway.address", "127.0.0.1:8443")
    file.set("check.endpoints", "example.com,example.org:8443")
    settings = load_settings(paths, {})
    assert settings.connection_type is ConnectionType.GATEWAY
    assert settings.arcproxy_port == 50000
    assert settings.gateway_address == parse_target("127.0.0.1:8443")
    assert [target.authority for target in settings.check_endpoints] == ["example.com:443", "example.org:8443"]


def test_lists_are_stored_as_arrays_that_other_agents_can_read(paths: AgentPaths) -> None:
    SettingsFile(paths).set("proxy.bypass", "Arc,ARM")
    assert json.loads(paths.local_configuration.read_text()) == {"proxy.bypass": ["Arc", "ARM"]}


def test_add_and_remove_change_single_items(paths: AgentPaths) -> None:
    file = SettingsFile(paths)
    file.set("incomingconnections.ports", "22")
    assert file.add("incomingconnections.ports", "6516,22") == ["22", "6516"]
    assert file.remove("incomingconnections.ports", "22,99") == ["6516"]
    assert file.get("incomingconnections.ports") == ["6516"]


@pytest.mark.parametrize("change", ["add", "remove"])
def test_add_and_remove_are_for_lists_only(paths: AgentPaths, change: str) -> None:
    with pytest.raises(AzcmError) as caught:
        getattr(SettingsFile(paths), change)("proxy.url", "http://proxy")
    assert caught.value.number == 23


def test_clear_brings_the_default_back(paths: AgentPaths) -> None:
    file = SettingsFile(paths)
    file.set("connection.type", "direct")
    assert file.clear("connection.type") == "default"
    assert file.read() == {}


def test_a_refused_value_changes_nothing(paths: AgentPaths) -> None:
    file = SettingsFile(paths)
    file.set("connection.type", "direct")
    with pytest.raises(AzcmError):
        file.set("connection.type", "GATEWAY")
    assert file.get("connection.type") == "direct"


def test_fifty_changes_at_once_are_all_kept(paths: AgentPaths) -> None:
    def add(number: int) -> Any:
        return SettingsFile(paths).add("incomingconnections.ports", str(number))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(add, range(1000, 1050)))
    assert sorted(SettingsFile(paths).get("incomingconnections.ports")) == [str(one) for one in range(1000, 1050)]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"proxy.url": "http://pro'])
def test_a_damaged_file_is_restored_from_its_backup(paths: AgentPaths, damage: bytes) -> None:
    SettingsFile(paths).set("connection.type", "gateway")
    paths.local_configuration.write_bytes(damage)
    assert load_settings(paths, {}).connection_type is ConnectionType.GATEWAY
    assert json.loads(paths.local_configuration.read_text()) == {"connection.type": "gateway"}


def test_a_file_and_a_backup_that_are_both_damaged_are_an_error_that_names_the_file(paths: AgentPaths) -> None:
    SettingsFile(paths).set("connection.type", "gateway")
    paths.local_configuration.write_text("{")
    paths.local_configuration.with_name("localconfig.json.bak").write_text("{")
    with pytest.raises(StateError) as caught:
        load_settings(paths, {})
    assert "localconfig.json" in caught.value.sentence


def test_a_proxy_with_a_password_is_not_readable_by_everybody(paths: AgentPaths) -> None:
    file = SettingsFile(paths)
    file.set("proxy.url", "http://user:secret@proxy:3128")
    for path in (paths.local_configuration, paths.local_configuration.with_name("localconfig.json.bak")):
        assert path.stat().st_mode & 0o777 == 0o640
    file.set("proxy.url", "http://proxy:3128")
    assert paths.local_configuration.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("document", "environment", "expected", "source"),
    [
        ({}, {}, None, ""),
        ({}, {"HTTPS_PROXY": "http://env:1"}, "http://env:1", "HTTPS_PROXY"),
        ({}, {"https_proxy": "http://env:2"}, "http://env:2", "https_proxy"),
        ({}, {"HTTPS_PROXY": "env:3"}, "http://env:3", "HTTPS_PROXY"),
        ({}, {"HTTPS_PROXY": "http://env:1", "https_proxy": "http://env:2"}, "http://env:1", "HTTPS_PROXY"),
        ({"proxy.url": "http://own:4"}, {"HTTPS_PROXY": "http://env:1"}, "http://own:4", "proxy.url"),
        ({"proxy.url": ""}, {"HTTPS_PROXY": ""}, None, ""),
        ({}, {"HTTPS_PROXY": "not a url"}, None, ""),
    ],
)
def test_proxy_url_goes_before_the_environment(
    document: dict[str, Any], environment: dict[str, str], expected: str | None, source: str
) -> None:
    settings = settings_of(document, environment)
    assert (str(settings.proxy_url) if settings.proxy_url else None, settings.proxy_source) == (expected, source)


@pytest.mark.parametrize("url", ["http://localhost:40343", "http://127.0.0.1:40343", "http://[::1]:40343"])
def test_arc_proxy_is_not_its_own_enterprise_proxy(url: str) -> None:
    assert settings_of({}, {"HTTPS_PROXY": url}).proxy_url is None
    settings = settings_of({"proxy.url": url}, {})
    assert settings.proxy_url is None
    assert "Arc Proxy" in settings.problems[0]


def test_another_local_proxy_is_an_enterprise_proxy() -> None:
    assert settings_of({"proxy.url": "http://localhost:3128"}, {}).proxy_url is not None


def test_stored_values_that_cannot_be_used_count_as_not_set_and_are_told_of() -> None:
    settings = settings_of({"connection.type": "GATEWAY", "arcproxy.port": "40343", "proxy.bypass": "Arc"}, {})
    assert settings.connection_type is ConnectionType.DEFAULT
    assert settings.arcproxy_port == 40343
    assert settings.proxy_bypass == ()
    assert len(settings.problems) == 3
