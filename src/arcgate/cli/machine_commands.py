"""`arcgate machine`: connected machines."""

import click

from arcgate.cli.audit_commands import local_time, read_audit
from arcgate.cli.extension_commands import extension_group
from arcgate.cli.machine_login_commands import allow_login, forbid_login
from arcgate.cli.output import Columns, at, output_option, show_list
from arcgate.cli.resource_kinds import ResourceKind
from arcgate.cli.resource_options import confirm, group_option, yes_option
from arcgate.cli.session import ARCGATE, HYBRID_COMPUTE, Session, run
from arcgate.core.audit import INCOMING
from arcgate.core.resource_ids import MACHINE_TYPE

_COLUMNS = {
    "NAME": at("name"),
    "RESOURCE GROUP": lambda row: row["id"].split("/")[4],
    "LOCATION": at("location"),
    "STATUS": at("properties", "status"),
    "LAST CHANGE": at("properties", "lastStatusChange"),
    "AGENT": at("properties", "agentVersion"),
    "SYSTEM": at("properties", "osName"),
}
_SESSION_COLUMNS: Columns = {
    "SESSION": at("tunnelId"),
    "SINCE": lambda row: local_time(row.get("time")),
    "REQUESTER": at("requester"),
    "PORT": lambda row: str(row.get("target", "")).rpartition(":")[2],
    "FROM": at("clientAddress"),
}
MOST_SESSIONS = 10_000
"""Open connections that are looked through."""
MACHINES = ResourceKind(MACHINE_TYPE, HYBRID_COMPUTE, "machine", _COLUMNS)


@click.group("machine")
def machine_group() -> None:
    """Connected machines."""


@machine_group.command("revoke")
@MACHINES.name_option
@group_option
@yes_option
def revoke(name: str, resource_group: str, subscription: str | None, yes: bool) -> None:
    """Revoke a machine's certificate; its open tunnels are cut."""
    confirm(f"Revoke the certificate of the machine {name}?", yes)

    async def work() -> None:
        session = Session.open()
        path = await MACHINES.path(session, subscription, resource_group, name)
        await session.send("POST", f"{path}/revokeCertificate", ARCGATE)

    run(work())
    click.echo(f"The certificate of {name} is revoked.")


@machine_group.command("sessions")
@MACHINES.name_option
@click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")
@output_option
def sessions(name: str, subscription: str | None, form: str | None) -> None:
    """List the connections to a machine that are open now (SSH and others by its gateway)."""
    records = run(read_audit(Session.open(), {"machine": name}, MOST_SESSIONS, subscription, only_open=True))
    show_list([one for one in records if one.get("direction") == INCOMING], form, _SESSION_COLUMNS)


@machine_group.command("cut")
@MACHINES.name_option
@group_option
@click.option("--session", "tunnel_id", default="", metavar="ID", help="Only this one, as 'sessions' names it.")
def cut(name: str, resource_group: str, subscription: str | None, tunnel_id: str) -> None:
    """Cut connections to a machine: all that are open, or one."""

    async def work() -> int:
        session = Session.open()
        path = await MACHINES.path(session, subscription, resource_group, name)
        answer = await session.send("POST", f"{path}/cutIncomingConnections", ARCGATE, body={"tunnelId": tunnel_id})
        return int(answer.json()["cut"])

    click.echo(f"Connections cut: {run(work())}.")


machine_group.add_command(allow_login)
machine_group.add_command(extension_group)
machine_group.add_command(forbid_login)
MACHINES.add_list_and_show(machine_group)
MACHINES.add_delete(machine_group, "its certificate stops working at once")
