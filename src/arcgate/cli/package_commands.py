"""`arcgate packages`: signs the agent's packages with keys that never come near a server."""

import hashlib
from dataclasses import replace
from pathlib import Path

import click

from arcgate.core.errors import InputError
from arcgate.core.package_offers import Offer, index_of, read_name
from arcgate.net.files import write_file
from arcgate.wire.catalogue_bundle import read_private_key
from arcgate.wire.extension_signature import key_text
from arcgate.wire.package_index import sign_index


@click.group("packages")
def packages_group() -> None:
    """The agent's packages, as 'make packages' makes them."""


@packages_group.command("sign")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--key",
    "key_files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Ed25519 private key in PEM; again for further ones, as while a new key comes into use.",
)
def sign(folder: Path, key_files: tuple[Path, ...]) -> None:
    """Write the list of the packages in FOLDER and its signatures: index.json and index.json.sig.

    Copy both with the packages into control.packages_folder of the servers, and name the public halves of the keys
    in control.package_keys.
    """
    keys = [read_private_key(file.read_bytes()) for file in key_files]
    offers = [offer for path in sorted(folder.iterdir()) if (offer := _offer(path)) is not None]
    if not offers:
        remedy = "Make some with 'make packages', and name their folder."
        raise InputError("NO_PACKAGES", f"There is no package of the agent in {folder}.", remedy=remedy)
    index = index_of(offers)
    write_file(folder / "index.json", index, 0o644)
    write_file(folder / "index.json.sig", sign_index(index, keys), 0o644)
    for one in offers:
        click.echo(f"signed {one.name}")
    for key in keys:
        click.echo(f"key {key_text(key.public_key())}")


def _offer(path: Path) -> Offer | None:
    offer = read_name(path.name)
    if offer is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return replace(offer, sha256=hashlib.file_digest(file, "sha256").hexdigest())
