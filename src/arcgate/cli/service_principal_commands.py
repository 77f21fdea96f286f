"""`arcgate service-principal`: identities for onboarding and automation."""

import re
from pathlib import Path

import click

from arcgate.cli.output import Columns, at, output_option, show, show_list
from arcgate.cli.regular_file import Unreadable, read_regular_file
from arcgate.cli.resource_options import confirm, require_name, yes_option
from arcgate.cli.session import ARCGATE, Session, run
from arcgate.core.errors import InputError

ONBOARDING_ROLE = "Azure Connected Machine Onboarding"
LARGEST_CERTIFICATE = 64 * 1024

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\n?")

_COLUMNS: Columns = {
    "CLIENT ID": at("clientId"),
    "NAME": at("displayName"),
    "ROLES": lambda row: ", ".join(f"{one['role']} at {one['scope']}" for one in row.get("roles", [])),
}


@click.group("service-principal")
def service_principal_group() -> None:
    """Service principals: identities of programs."""


def _path(session: Session) -> str:
    return f"/tenants/{session.profile.tenant_id}/providers/Arcgate.Network/servicePrincipals"


@service_principal_group.command("create")
@click.option("-n", "--name", "--display-name", "name", required=True, help="Name to show.")
@click.option("--role", default=ONBOARDING_ROLE, show_default=True, help="Role to have.")
@click.option("--scope", help="Where to have it: a resource id. Default: the current subscription.")
@click.option("--certificate", type=click.Path(path_type=Path), help="PEM file to sign in with, in place of a secret.")
@output_option
def create(name: str, role: str, scope: str | None, certificate: Path | None, form: str | None) -> None:
    """Create a service principal. Its secret is shown this once; with a certificate there is none."""
    proof = {} if certificate is None else {"certificate": _read_certificate(certificate)}

    async def work() -> object:
        session = Session.open()
        where = scope or f"/subscriptions/{await session.find_subscription(None)}"
        body = {"displayName": name, "role": role, "scope": where, **proof}
        return (await session.send("POST", _path(session), ARCGATE, body=body)).json()

    if proof:
        show(run(work()), form, {"CLIENT ID": at("clientId"), "CERTIFICATE": at("certificateThumbprint")})
        return
    show(run(work()), form, {"CLIENT ID": at("clientId"), "CLIENT SECRET": at("clientSecret")})
    click.echo("Keep the secret now: it is not shown again.", err=True)


def _read_certificate(path: Path) -> str:
    """Return the certificate of a PEM file, which may hold the private key beside it: that stays here."""
    try:
        text = read_regular_file(path, LARGEST_CERTIFICATE).data.decode("ascii")
    except (Unreadable, UnicodeDecodeError) as error:
        raise InputError("CertificateUnusable", f"{path} can't be used.", cause=f"it {error}") from None
    found = _CERTIFICATE.search(text)
    if found is None:
        raise InputError(
            "CertificateUnusable", f"{path} holds no certificate in PEM form.", remedy="Name the PEM file."
        )
    return found[0]


@service_principal_group.command("list")
@output_option
def list_principals(form: str | None) -> None:
    """List service principals."""
    session = Session.open()
    show_list(run(session.list_all(_path(session), ARCGATE)), form, _COLUMNS)


@service_principal_group.command("delete")
@click.option("--id", "client_id", required=True, help="Client id.")
@yes_option
def delete(client_id: str, yes: bool) -> None:
    """Delete a service principal; its tokens stop working."""
    confirm(f"Delete the service principal {client_id}?", yes)
    session = Session.open()
    run(session.delete(f"{_path(session)}/{require_name(client_id, 'service principal')}", ARCGATE))
