"""`arcgate catalogue`: features and scenarios, linted, compared, and signed for servers to load."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from arcgate.cli.output import Columns, at, output_option, show_list
from arcgate.cli.regular_file import Unreadable, read_regular_file
from arcgate.core.catalogue import Catalogue, parse_catalogue, shipped_catalogue, shipped_texts
from arcgate.core.catalogue.difference import difference
from arcgate.core.catalogue.lint import Fault, lint_catalogue
from arcgate.core.errors import InputError
from arcgate.net.files import write_file
from arcgate.wire.catalogue_bundle import make_bundle, open_bundle, read_private_key, read_public_key

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
LARGEST_FILE = 64 * 1024 * 1024
"""Bytes of a file of a catalogue."""

_FINDINGS: Columns = {"FAULT": at("fault"), "IN": at("group"), "RULE": at("rule"), "WHY": at("message")}
_NAMES: Columns = {
    "NAME": at("name"),
    "KIND": at("kind"),
    "TITLE": at("title"),
    "ENDPOINTS": at("endpoints"),
    "PARAMETERS": at("parameters"),
}
_PLACEHOLDER = re.compile(r"<([a-z-]+)>")


@click.group("catalogue")
def catalogue_group() -> None:
    """The lists of endpoints that features and scenarios stand for."""


@catalogue_group.command("list")
@output_option
def list_names(form: str | None) -> None:
    """List the features and scenarios that gateways can name."""
    catalogue = shipped_catalogue()
    rows: list[dict[str, Any]] = [
        {"name": one.name, "kind": "feature", "title": one.title, "endpoints": len(one.endpoints), "parameters": []}
        for one in catalogue.features.values()
    ]
    for one in catalogue.scenarios.values():
        names = sorted({name for endpoint in one.endpoints for name in _PLACEHOLDER.findall(endpoint.text)})
        facts = {"kind": "scenario", "title": one.title, "endpoints": len(one.endpoints), "parameters": names}
        rows.append({"name": one.name, **facts})
    show_list(rows, form, _NAMES)


@catalogue_group.command("lint")
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--strict", is_flag=True, help="Fail on shadowed rules and open wildcards too, not on duplicates alone.")
@output_option
def lint(files: tuple[Path, ...], strict: bool, form: str | None) -> None:
    """Find duplicates, shadowed rules, and wildcards below which anybody can own a name.

    FILES are TOML files that make a catalogue together; without any, the shipped one is looked at. Exit code 1
    when there are faults.
    """
    # The list of public suffixes comes with the server's libraries.
    from publicsuffixlist import PublicSuffixList

    suffixes = PublicSuffixList()
    catalogue = parse_catalogue(*map(_text, files)) if files else shipped_catalogue()
    found = lint_catalogue(catalogue, lambda name: suffixes.publicsuffix(name) == name)
    rows = [{"fault": str(one.fault), "group": one.group, "rule": one.rule, "message": one.message} for one in found]
    show_list(rows, form, _FINDINGS)
    if any(strict or one.fault is Fault.DUPLICATE for one in found):
        raise SystemExit(1)


@catalogue_group.command("diff")
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
def diff(old: Path, new: Path) -> None:
    """Show which endpoints come and go from one bundle or TOML file to another. Exit code 1 when any do."""
    changes = difference(_read_any(old), _read_any(new))
    for change in changes:
        click.echo(f"{change.kind} {change.name}")
        for sign, endpoints in (("-", change.removed), ("+", change.added)):
            for endpoint in endpoints:
                click.echo(f"  {sign} {endpoint}")
    if changes:
        raise SystemExit(1)


@catalogue_group.command("bundle")
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--key", "key_file", type=_FILE, required=True, help="PEM file of the Ed25519 key that signs.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where to write it.")
@click.option("--note", default="", help="What it is, for those who verify it.")
def bundle(files: tuple[Path, ...], key_file: Path, out: Path, note: str) -> None:
    """Sign TOML files, the shipped catalogue's without any, as a bundle that servers can load."""
    texts = tuple(_text(file) for file in files) if files else shipped_texts()
    catalogue = parse_catalogue(*texts)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    provenance = {"source": catalogue.source, "edition": catalogue.edition, "made": made, "note": note}
    write_file(out, make_bundle(texts, provenance, read_private_key(key_file.read_bytes())), 0o644)
    click.echo(f"Edition {catalogue.edition} is in {out}.")


@catalogue_group.command("verify")
@click.argument("file", metavar="BUNDLE", type=_FILE)
@click.option("--key", "keys", type=_FILE, multiple=True, required=True, help="PEM file of a trusted public key.")
def verify(file: Path, keys: tuple[Path, ...]) -> None:
    """Say what a bundle holds and where it comes from, if a trusted key signed it."""
    found = open_bundle(file.read_bytes(), [read_public_key(one.read_bytes()) for one in keys])
    catalogue = found.catalogue
    for name, value in {
        "signed by": found.key_id,
        **found.provenance,
        "features": len(catalogue.features),
        "scenarios": len(catalogue.scenarios),
        "newer than the shipped one": "yes" if catalogue.edition > shipped_catalogue().edition else "no",
    }.items():
        click.echo(f"{name + ':':<28}{value}")


def _text(file: Path) -> str:
    try:
        return read_regular_file(file, LARGEST_FILE).data.decode()
    except Unreadable as error:
        raise InputError("CATALOGUE_INVALID", "The catalogue can't be read.", cause=f"{file} {error}") from None
    except UnicodeDecodeError:
        raise InputError("CATALOGUE_INVALID", f"{file} is no text in UTF-8.", remedy="Name files of TOML.") from None


def _read_any(file: Path) -> Catalogue:
    """Return the catalogue of a TOML file, or of a bundle whoever signed it: it is only looked at."""
    if file.suffix == ".toml":
        return parse_catalogue(_text(file))
    try:
        return parse_catalogue(*json.loads(json.loads(_text(file))["content"])["texts"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("BUNDLE_INVALID", f"{file} is no bundle of a catalogue.", cause=str(error)) from None
