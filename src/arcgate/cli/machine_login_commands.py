"""`arcgate machine allow-login` and `forbid-login`: who may connect to a machine through its gateway."""

import base64
import binascii
import json
import uuid
from typing import Any

import click

from arcgate.cli.resource_options import group_option, name_option, resource_path
from arcgate.cli.session import AUTHORIZATION, Session, run
from arcgate.core.errors import InputError
from arcgate.core.resource_ids import MACHINE_TYPE

LOGIN_ROLE = "fb879df8-f326-4884-b1cf-06f3ad86be52"
"""Virtual Machine User Login."""

_name = name_option("--machine-name", what="machine")
_assignee = click.option("--assignee", metavar="PRINCIPAL_ID", help="Who; default: whoever is logged in here.")


@click.command("allow-login")
@_name
@group_option
@_assignee
def allow_login(name: str, resource_group: str, subscription: str | None, assignee: str | None) -> None:
    """Let somebody connect to a machine: assign the role Virtual Machine User Login there."""

    async def work() -> bool:
        session = Session.open()
        path = await _assignments(session, subscription, resource_group, name)
        who = assignee or await _own_id(session)
        if await _existing(session, path, who):
            return False
        body = {"properties": {"roleDefinitionId": LOGIN_ROLE, "principalId": who}}
        await session.put(f"{path}/{uuid.uuid4()}", AUTHORIZATION, body, wait=False)
        return True

    click.echo("Allowed." if run(work()) else "It was allowed already.")


@click.command("forbid-login")
@_name
@group_option
@_assignee
def forbid_login(name: str, resource_group: str, subscription: str | None, assignee: str | None) -> None:
    """Take that role away again; what connections somebody has by it are cut."""

    async def work() -> int:
        session = Session.open()
        path = await _assignments(session, subscription, resource_group, name)
        found = await _existing(session, path, assignee or await _own_id(session))
        for one in found:
            await session.delete(f"{path}/{one['name']}", AUTHORIZATION)
        return len(found)

    click.echo("Forbidden." if run(work()) else "There was no such role at this machine.")


async def _assignments(session: Session, subscription: str | None, group: str, name: str) -> str:
    machine = resource_path(await session.find_subscription(subscription), group, MACHINE_TYPE, name, "machine")
    return f"{machine}/providers/Microsoft.Authorization/roleAssignments"


async def _existing(session: Session, path: str, principal: str) -> list[dict[str, Any]]:
    """Return the assignments of the role to a principal at the machine itself, not those above it."""
    listed = await session.list_all(path, AUTHORIZATION, {"$filter": f"principalId eq '{principal}'"})
    scope = path.partition("/providers/Microsoft.Authorization/")[0].lower()
    return [
        one
        for one in listed
        if one["properties"]["roleDefinitionId"].endswith(LOGIN_ROLE) and one["properties"]["scope"].lower() == scope
    ]


async def _own_id(session: Session) -> str:
    """Return the principal id of whoever is logged in, as the token tells it; the server looks at no such word."""
    claims = (await session.token()).access_token.split(".")[1:2]
    try:
        document = json.loads(base64.urlsafe_b64decode(claims[0] + "=" * (-len(claims[0]) % 4)))
        return str(uuid.UUID(document["oid"]))
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        raise InputError(
            "AssigneeNeeded", "The token does not tell who is logged in.", remedy="Give --assignee PRINCIPAL_ID."
        ) from None
