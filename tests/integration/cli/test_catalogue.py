"""`arcgate catalogue`, and a control plane that loads what it has signed."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from arcgate.cli.main import arcgate
from arcgate.core.catalogue import catalogue_in_force, shipped_catalogue, shipped_texts
from arcgate.core.errors import InputError
from arcgate.core.snapshot import Kind, Snapshot
from worlds.control_plane import control_plane

NEWER = '[source]\ntitle = "own"\ndate = 2026-11-23\nedition = 2099010101\n'
OWN = "\n[features.Own]\ntitle = 'Own'\npurpose = 'Ours.'\nendpoints = ['own.example.com', 'own.example.com']\n"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(arcgate, ["catalogue", *map(str, words)])


def keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """Return the files of a fresh key pair: private and public."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_the_shipped_catalogue_is_listed_and_has_no_duplicates() -> None:
    listed = run("list", "--output", "table").stdout
    assert "KeyVault" in listed
    assert "Monitor" in listed
    result = run("lint", "--output", "table")
    assert result.exit_code == 0
    assert "*.blob.core.windows.net" in result.stdout
    assert run("lint", "--strict").exit_code == 1


def test_duplicates_of_a_file_fail_the_linter(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(NEWER + OWN)
    result = run("lint", file, "--output", "table")
    assert result.exit_code == 1
    assert "duplicate" in result.stdout


@pytest.mark.parametrize(
    "content", [b"x =", b"\xff", b"x = " + b"[" * 100_000, b"", b"features = 1", b"features.x = 1", b"[source]"]
)
def test_what_is_no_catalogue_is_told_of(tmp_path: Path, content: bytes) -> None:
    private, _ = keys(tmp_path)
    file, other = tmp_path / "own.toml", tmp_path / "bundle.json"
    file.write_bytes(content)
    other.write_bytes(b"[" * 100_000)
    told = [
        run("lint", file),
        run("bundle", file, "--key", private, "--out", tmp_path / "x"),
        run("diff", file, file),
        run("diff", other, other),
    ]
    assert all(isinstance(one.exception, InputError) for one in told), told


def test_a_bundle_is_verified_by_its_key_and_compared_with_a_file(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    _, other = keys(tmp_path, "other")
    first, second, file = tmp_path / "first.json", tmp_path / "second.json", tmp_path / "own.toml"
    file.write_text(NEWER + OWN)
    assert run("bundle", "--key", private, "--out", first).exit_code == 0
    assert run("bundle", file, "--key", private, "--out", second, "--note", "for us").exit_code == 0
    shown = run("verify", second, "--key", other, "--key", public).stdout
    assert "for us" in shown
    assert "newer than the shipped one: yes" in shown
    assert isinstance(run("verify", second, "--key", other).exception, InputError)
    assert run("diff", first, first).exit_code == 0
    difference = run("diff", first, second)
    assert difference.exit_code == 1
    assert "+ own.example.com" in difference.stdout
    assert "- pas.windows.net" in difference.stdout


@pytest.mark.anyio
async def test_a_control_plane_works_with_the_newer_catalogue_and_gives_it_to_its_nodes(tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    file, bundle = tmp_path / "own.toml", tmp_path / "bundle.json"
    file.write_text(shipped_texts()[0].replace("edition = 20", "edition = 30") + OWN)
    assert run("bundle", file, "--key", private, "--out", bundle).exit_code == 0
    settings = {"catalogue_bundle": bundle, "catalogue_keys": (public,)}
    async with control_plane(tmp_path / "plane", control=settings) as control:
        await control.group()
        assert (await control.gateway("edge", "Own")).status == 201
        entries = [one for kind in Kind for one in await control.entries(kind)]
        snapshot = Snapshot().apply(entries, 100)
        newer = catalogue_in_force(snapshot.catalogue)
        assert newer.features["Own"].endpoints[0].text == "own.example.com"
    async with control_plane(tmp_path / "plane") as control:
        assert await control.entries(Kind.CATALOGUE) == []
        assert control.context.catalogue is shipped_catalogue()


@pytest.mark.anyio
async def test_a_bundle_of_somebody_else_keeps_the_control_plane_from_starting(tmp_path: Path) -> None:
    private, _ = keys(tmp_path)
    _, other = keys(tmp_path, "other")
    bundle = tmp_path / "bundle.json"
    assert run("bundle", "--key", private, "--out", bundle).exit_code == 0
    with pytest.raises(InputError) as caught:
        async with control_plane(tmp_path / "plane", control={"catalogue_bundle": bundle, "catalogue_keys": (other,)}):
            pass
    assert caught.value.code == "BUNDLE_UNTRUSTED"
