"""The shelf of extensions: what is signed and whole is listed and given, and nothing else of the folder."""

import json
from pathlib import Path

import pytest

from arcgate.control.packages.extension_shelf import extensions_folder, publisher_keys
from arcgate.core.configuration import Configuration
from arcgate.core.errors import StateError
from arcgate.wire.extension_signature import parse_list
from worlds.asgi import ask
from worlds.control_plane import control_plane
from worlds.extension_packages import Publisher, handler_files, packed

pytestmark = pytest.mark.anyio


async def test_packages_are_listed_and_given_as_they_come_and_go(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        folder = extensions_folder(plane.context.configuration)
        assert (await ask(plane.app, "GET", "/packages/extensions/index.json")).json() == {"packages": []}
        publisher, content = Publisher(), packed(handler_files(""))
        publisher.put(folder, content, "1.0")
        listed = parse_list((await ask(plane.app, "GET", "/packages/extensions/index.json")).json())
        [description] = [one.verified([publisher.key.public_key()]) for one in listed]
        given = await ask(plane.app, "GET", f"/packages/extensions/{description.file_name}")
        assert given.body == content
        (folder / description.file_name).unlink()
        assert (await ask(plane.app, "GET", "/packages/extensions/index.json")).json() == {"packages": []}
        assert (await ask(plane.app, "GET", f"/packages/extensions/{description.file_name}")).status == 404


async def test_nothing_else_of_the_folder_is_given(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        folder = extensions_folder(plane.context.configuration)
        Publisher().put(folder, packed(handler_files("")), "1.0")
        [name] = [path.name for path in folder.glob("*.json")]
        (folder / "publisher.key").write_text("secret")
        (folder / "odd.zip").write_bytes(b"PK")
        (folder / "odd.zip.json").write_text((folder / name).read_text())
        (folder / "bad.zip.json").write_text("[" * 10_000)
        (folder / "other.zip.json").write_text(json.dumps({"description": "{}", "signature": ""}))
        listed = (await ask(plane.app, "GET", "/packages/extensions/index.json")).json()["packages"]
        assert len(listed) == 1
        for wanted in ("publisher.key", "publisher.pem", name, "odd.zip", "..%2fcontrol.sqlite", "%2e%2e", "."):
            assert (await ask(plane.app, "GET", f"/packages/extensions/{wanted}")).status in (400, 404)


async def test_publishers_are_those_of_the_configuration_or_the_one_beside_the_packages(tmp_path: Path) -> None:
    beside, named = Publisher(), Publisher()
    folder = tmp_path / "extensions"
    folder.mkdir()
    plain = Configuration(state_dir=tmp_path)
    assert publisher_keys(plain) == []
    (folder / "publisher.pem").write_bytes(beside.pem)
    assert publisher_keys(plain) == [beside.public]
    file = tmp_path / "named.pem"
    file.write_bytes(named.pem)
    configured = Configuration.model_validate({"state_dir": tmp_path, "control": {"extension_keys": [file]}})
    assert publisher_keys(configured) == [named.public]
    file.write_text("no key")
    with pytest.raises(StateError) as caught:
        publisher_keys(configured)
    assert caught.value.code == "PUBLISHER_KEY_UNUSABLE"


async def test_only_machines_are_told_the_publishers(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        reply = await ask(plane.app, "GET", "/machine/00000000-0000-0000-0000-000000000000/publishers")
        assert reply.status == 401
