"""`arcgate service-principal`: identities for onboarding and automation."""

import click

from arcgate.cli.output import Columns, at, output_option, show, show_list
from arcgate.cli.resource_options import confirm, require_name, yes_option
from arcgate.cli.session import ARCGATE, Session, run

ONBOARDING_ROLE = "Azure Connected Machine Onboarding"

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
@output_option
def create(name: str, role: str, scope: str | None, form: str | None) -> None:
    """Create a service principal. Its secret is shown this once."""

    async def work() -> object:
        session = Session.open()
        where = scope or f"/subscriptions/{await session.find_subscription(None)}"
        body = {"displayName": name, "role": role, "scope": where}
        return (await session.send("POST", _path(session), ARCGATE, body=body)).json()

    show(run(work()), form, {"CLIENT ID": at("clientId"), "CLIENT SECRET": at("clientSecret")})
    click.echo("Keep the secret now: it is not shown again.", err=True)


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
