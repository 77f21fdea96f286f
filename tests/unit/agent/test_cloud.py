"""Cloud definitions: which one is taken, and errors that name file and key."""

from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.cloud import load_cloud
from arcgate.agent.errors import AzcmError
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import write_goal
from arcgate.core.names import parse_target
from arcgate.core.routing import Goal
from arcgate.net.files import write_json
from worlds.agent_cloud import definition
from worlds.authority import Authority


class Clouds:
    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder / "clouds.d"
        self.paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(folder), "AZCMAGENT_CLOUDS": str(self.folder)})
        self.definition = definition(authority)

    def write(self, file: str = "one.json", **changes: Any) -> None:
        write_json(self.folder / file, {**self.definition, **changes})


@pytest.fixture
def clouds(tmp_path: Path, authority: Authority) -> Clouds:
    return Clouds(tmp_path, authority)


def test_the_only_cloud_is_the_default(clouds: Clouds) -> None:
    clouds.write()
    cloud = load_cloud(clouds.paths)
    assert (cloud.name, cloud.domain) == ("Arcgate", "arcgate.test")
    assert cloud.front is None


def test_a_cloud_is_found_by_its_name_in_any_case(clouds: Clouds) -> None:
    clouds.write("one.json", name="One")
    clouds.write("two.json", name="Two")
    assert load_cloud(clouds.paths, "tWO").name == "Two"


def test_among_several_one_must_be_named(clouds: Clouds) -> None:
    clouds.write("one.json", name="One")
    clouds.write("two.json", name="Two")
    with pytest.raises(AzcmError) as caught:
        load_cloud(clouds.paths)
    assert caught.value.number == 75
    assert "One, Two" in caught.value.remedy


def test_an_unknown_name_lists_the_known_ones(clouds: Clouds) -> None:
    clouds.write()
    with pytest.raises(AzcmError) as caught:
        load_cloud(clouds.paths, "AzureCloud")
    assert "Arcgate" in caught.value.remedy


def test_no_cloud_at_all_is_azcm0075_with_the_folder(clouds: Clouds) -> None:
    with pytest.raises(AzcmError) as caught:
        load_cloud(clouds.paths)
    assert str(clouds.folder) in caught.value.sentence


def test_the_front_and_its_address_are_targets(clouds: Clouds) -> None:
    clouds.write(front="abc.gw.arcgate.test:8443", address="10.0.0.1:443")
    cloud = load_cloud(clouds.paths)
    assert cloud.front == parse_target("abc.gw.arcgate.test:8443")
    assert cloud.address == parse_target("10.0.0.1:443")


def test_control_hosts_have_the_ports_of_the_urls(clouds: Clouds) -> None:
    clouds.write(his="https://gbl.his.arcgate.test:8443")
    cloud = load_cloud(clouds.paths)
    inside = ("management.arcgate.test:443", "eastus.his.arcgate.test:8443", "download.arcgate.test:443")
    outside = ("eastus.his.arcgate.test:443", "other.arcgate.test:443")
    for text in inside:
        assert any(pattern.matches(parse_target(text)) for pattern in cloud.control_hosts)
    for text in outside:
        assert not any(pattern.matches(parse_target(text)) for pattern in cloud.control_hosts)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "../etc"),
        ("domain", "10.0.0.1"),
        ("resourceManager", "http://management.arcgate.test"),
        ("login", "https://user:secret@login.arcgate.test"),
        ("his", None),
        ("packages", 7),
        ("ca", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"),
        ("front", "not a host:443"),
        ("address", "10.0.0.1:443"),
    ],
)
def test_a_bad_key_is_named_with_its_file(clouds: Clouds, key: str, value: Any) -> None:
    changes: dict[str, Any] = {key: value}
    clouds.write("one.json", **changes)
    with pytest.raises(AzcmError) as caught:
        load_cloud(clouds.paths)
    assert caught.value.number == 75
    assert "one.json" in caught.value.sentence
    assert caught.value.cause.startswith(key)
    assert "secret" not in caught.value.one_line()


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_file_that_is_no_json_object_is_named(clouds: Clouds, content: str) -> None:
    clouds.write()
    (clouds.folder / "one.json").write_text(content)
    with pytest.raises(AzcmError) as caught:
        load_cloud(clouds.paths)
    assert "one.json" in caught.value.sentence


def test_roots_that_the_goal_announces_are_trusted_too(clouds: Clouds, tmp_path: Path) -> None:
    clouds.write()
    (tmp_path / "next").mkdir()
    next_root = Authority(tmp_path / "next").pem
    before = load_cloud(clouds.paths).ca_pem
    write_goal(clouds.paths, Goal(3, authorities=next_root))
    assert load_cloud(clouds.paths).ca_pem == before + next_root
    clouds.paths.goal.write_text("[")
    assert load_cloud(clouds.paths).ca_pem == before
