"""`arcgate certificate`: which certificate this host's server shows, until when, and what keeps a new one away."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from arcgate.cli.configuration import load_configuration
from arcgate.cli.configuration_commands import config_option
from arcgate.cli.output import Columns, at, output_option, show
from arcgate.core.certificate_orders import Held, Record
from arcgate.core.configuration import Configuration
from arcgate.net.certificate_files import read_held
from arcgate.net.files import read_json

_COLUMNS: Columns = {
    "SOURCE": at("source"),
    "VALID UNTIL": at("notAfter"),
    "RENEWAL": at("renewal"),
    "NAMES": at("names"),
    "LAST FAILURE": at("orders", "cause"),
}


@click.group("certificate")
def certificate_group() -> None:
    """The server's certificate on this host."""


@certificate_group.command("show")
@config_option
@output_option
def show_certificate(file: Path | None, form: str | None) -> None:
    """Show the certificate in use, and with ACME what came of the orders. Exit code 1 when none is valid now.

    Reads the files of the server, so it runs as its user or as root.
    """
    configuration = load_configuration(file)
    now = datetime.now(UTC)
    path, source = _in_use(configuration)
    held = read_held(path)
    document = {"source": source, "file": str(path), **_describe(held, source)}
    if configuration.acme.directory:
        document["orders"] = _orders(configuration)
    show(document, form, _COLUMNS)
    if held is None or not held.not_before <= now <= held.not_after:
        raise SystemExit(1)


def _in_use(configuration: Configuration) -> tuple[Path, str]:
    given = configuration.given_certificate
    if given is not None and not configuration.acme.directory:
        return given[0], "files"
    if given is not None and given[0].exists():
        return given[0], "acme"
    return configuration.state_dir / "control" / "tls.pem", "own authority"


def _describe(held: Held | None, source: str) -> dict[str, Any]:
    if held is None:
        return {"names": [], "notBefore": None, "notAfter": None, "renewal": None}
    renewal = None if source == "files" else held.renewal
    times = {"notBefore": held.not_before, "notAfter": held.not_after, "renewal": renewal}
    texts = {name: time and time.isoformat(timespec="seconds") for name, time in times.items()}
    return {"names": sorted(held.names), **texts}


def _orders(configuration: Configuration) -> dict[str, Any]:
    document = read_json(configuration.acme_orders)
    record = Record() if document is None else Record.from_json(document)
    return record.to_json()
