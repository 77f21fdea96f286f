"""Connections to a machine's ports by its gateway: a grant from the control plane, then a tunnel."""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

from arcgate.cli.outbound import DIAL_TIMEOUT, Outbound
from arcgate.cli.resource_options import list_path, resource_path
from arcgate.cli.session import ARCGATE, HYBRID_COMPUTE, Session
from arcgate.core.errors import Hop, HopError, InputError, StateError
from arcgate.core.incoming import machine_target
from arcgate.core.names import Target, parse_host_name, parse_target
from arcgate.core.resource_ids import MACHINE_TYPE, ResourceId, parse_resource_id
from arcgate.core.verdicts import Reason
from arcgate.net.dialer import ConnectRefused, connect_through, dial, start_tls
from arcgate.net.relay import Ending, Traffic, relay
from arcgate.net.streams import ByteStream
from arcgate.net.tls import client_context
from arcgate.wire.connect import CORRELATION_FIELD
from arcgate.wire.incoming import GRANT_FIELD

ANSWER_TIMEOUT = 60.0
"""Seconds for the gateway's answer; it waits for the machine."""
LONGEST_SILENCE = 7 * 86_400.0
"""Seconds without a byte after which we give up; the gateway's own time-outs come first."""


@dataclass(frozen=True, slots=True)
class MachineConnection:
    """A tunnel to a port of a machine; the correlation id names it in the audit."""

    stream: ByteStream
    correlation_id: str

    async def carry(self, client: ByteStream) -> None:
        """Carry bytes both ways to the end; raises HopError when the connection was cut."""
        try:
            ending = await relay(
                client, self.stream, Traffic(), idle_timeout=LONGEST_SILENCE, half_closed_timeout=LONGEST_SILENCE
            )
        except asyncio.CancelledError:
            self.stream.abort()
            raise
        if ending is Ending.COMPLETED:
            await self.stream.close()
            return
        self.stream.abort()
        if ending is Ending.TARGET_RESET:
            raise HopError(
                Hop.GATEWAY,
                "CONNECTION_CUT",
                "The connection to the machine was cut.",
                remedy=f"'arcgate audit --correlation-id {self.correlation_id}' says why.",
            )


async def find_machine(session: Session, name: str, group: str | None, subscription: str | None) -> ResourceId:
    """Return the id of a machine that was given by id or name; raises InputError or ApiFailure."""
    if name.startswith("/"):
        return parse_resource_id(name, MACHINE_TYPE)
    chosen = await session.find_subscription(subscription)
    if group is not None:
        return parse_resource_id(resource_path(chosen, group, MACHINE_TYPE, name, "machine"), MACHINE_TYPE)
    known = await session.list_all(list_path(chosen, None, MACHINE_TYPE), HYBRID_COMPUTE)
    found = [one for one in known if str(one.get("name", "")).lower() == name.lower()]
    if len(found) == 1:
        return parse_resource_id(str(found[0]["id"]), MACHINE_TYPE)
    raise InputError(
        "MachineNotFound",
        f"{'More than one' if found else 'No'} machine is called {name[:80]!r} in this subscription.",
        remedy="Name its resource group: -g GROUP." if found else "'arcgate machine list' names those that there are.",
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """The permission for one connection, and the gateway that takes it; `target` is the port's name on the wire."""

    gateway: Target
    target: Target
    secret: str = field(repr=False)


async def open_connection(session: Session, machine: ResourceId, port: int) -> MachineConnection:
    """Return a connection to a port of a machine; raises ApiFailure or HopError.

    A machine waits at one node of its gateway: where its name has several addresses, the others are asked in turn.
    """
    profile = session.profile
    outbound = Outbound(parse_target(profile.address) if profile.address else None, profile.ca)
    grant = await _ask(session, machine, port)
    stream = await outbound.open_stream(grant.gateway)
    try:
        return await _enter(stream, grant, profile.ca)
    except ConnectRefused as error:
        if not _is_elsewhere(error):
            raise _in_our_words(error) from None
        refusal = _in_our_words(error)
    for address in await outbound.other_addresses(grant.gateway, stream.peer):
        try:
            again = await _ask(session, machine, port)  # the refusal has used the one before up
            return await _enter(await dial([address], again.gateway.port, DIAL_TIMEOUT), again, profile.ca)
        except ConnectRefused as error:
            if not _is_elsewhere(error):
                raise _in_our_words(error) from None
        except HopError:
            continue  # a node that is away: the machine isn't there either
    raise refusal


async def _ask(session: Session, machine: ResourceId, port: int) -> Grant:
    answer = await session.send("POST", f"{machine}/grantIncomingConnection", ARCGATE, body={"port": port})
    return _granted(answer.json(), port)


async def _enter(stream: ByteStream, grant: Grant, ca: str) -> MachineConnection:
    """Show the grant to the gateway at the other end of a stream, which is closed on failure; raises HopError."""
    correlation_id, name = str(uuid.uuid4()), str(grant.gateway.host)
    fields = ((CORRELATION_FIELD, correlation_id), (GRANT_FIELD, grant.secret))
    try:
        tls = await start_tls(stream, client_context(ca_pem=ca), name, DIAL_TIMEOUT)
        tunnel, _ = await connect_through(tls, grant.target, ANSWER_TIMEOUT, hop=Hop.GATEWAY, via=name, fields=fields)
    except BaseException:
        await stream.close()
        raise
    return MachineConnection(tunnel, correlation_id)


def _is_elsewhere(error: ConnectRefused) -> bool:
    """Say whether the machine may wait at another node."""
    return error.refusal.code == Reason.MACHINE_NOT_WAITING


def _granted(document: Any, port: int) -> Grant:
    try:
        gateway = Target(parse_host_name(document["gateway"]["host"]), int(document["gateway"]["port"]))
        return Grant(gateway, machine_target(document["machineId"], port), str(document["grant"]))
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise StateError("ANSWER_UNREADABLE", "The control plane's grant can't be read.", cause=repr(error)) from None


def _in_our_words(error: ConnectRefused) -> HopError:
    """Return a gateway's refusal without the name that stands for the machine on the wire."""
    refusal = error.refusal
    if not refusal.code:
        return error
    return HopError(Hop.GATEWAY, refusal.code, refusal.message, cause=refusal.detail, remedy=refusal.remedy)
