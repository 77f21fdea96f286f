"""`arcgate external-principal`: people and groups of the issuer that identity.issuer names, and their roles here."""

import click

from arcgate.cli.output import Columns, at, output_option, show, show_list
from arcgate.cli.resource_options import confirm, require_name, yes_option
from arcgate.cli.session import ARCGATE, Session, run

_COLUMNS: Columns = {
    "ID": at("id"),
    "KIND": at("kind"),
    "SUBJECT": at("subject"),
    "NAME": at("displayName"),
    "ROLES": lambda row: ", ".join(f"{one['role']} at {one['scope']}" for one in row.get("roles", [])),
}


@click.group("external-principal")
def external_principal_group() -> None:
    """Users and groups of an issuer outside (identity.issuer)."""


def _path(session: Session) -> str:
    return f"/tenants/{session.profile.tenant_id}/providers/Arcgate.Network/externalPrincipals"


@external_principal_group.command("create")
@click.option(
    "--subject", required=True, help="Value of the issuer's subject claim, or of a group in its groups claim."
)
@click.option("--group", "is_group", is_flag=True, help="The subject is a group.")
@click.option("-n", "--name", "--display-name", "name", required=True, help="Name to show.")
@click.option("--role", required=True, help="Role to have.")
@click.option("--scope", help="Where to have it: a resource id. Default: the current subscription.")
@output_option
def create(subject: str, is_group: bool, name: str, role: str, scope: str | None, form: str | None) -> None:
    """Give a user or group of the issuer a role here."""

    async def work() -> object:
        session = Session.open()
        where = scope or f"/subscriptions/{await session.find_subscription(None)}"
        kind = "Group" if is_group else "User"
        body = {"kind": kind, "subject": subject, "displayName": name, "role": role, "scope": where}
        return (await session.send("POST", _path(session), ARCGATE, body=body)).json()

    show(run(work()), form, _COLUMNS)


@external_principal_group.command("list")
@output_option
def list_principals(form: str | None) -> None:
    """List users and groups of the issuer that have roles here."""
    session = Session.open()
    show_list(run(session.list_all(_path(session), ARCGATE)), form, _COLUMNS)


@external_principal_group.command("delete")
@click.option("--id", "principal_id", required=True, help="Id, as 'list' shows it.")
@yes_option
def delete(principal_id: str, yes: bool) -> None:
    """Take all roles from a user or group; its next request is refused."""
    confirm(f"Delete the external principal {principal_id}?", yes)
    session = Session.open()
    run(session.delete(f"{_path(session)}/{require_name(principal_id, 'external principal')}", ARCGATE))
