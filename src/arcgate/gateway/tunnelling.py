"""The life of one tunnel: registered, checked, opened, recorded, relayed, ended, recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from arcgate.core.policy import Policy
from arcgate.core.policy_settings import ServerNameCheck
from arcgate.core.verdicts import EndReason, Reason, Verdict
from arcgate.gateway.accounting import Accounting
from arcgate.gateway.machine_limits import MachineLimits
from arcgate.gateway.outbound import Outbound, Refused
from arcgate.gateway.server_name import check_of, read_server_name
from arcgate.gateway.spool import SpoolFull
from arcgate.gateway.tunnels import OpenTunnels, Tunnel
from arcgate.net.channel import ChannelTunnel
from arcgate.net.relay import Ending, HandOver, Traffic, relay
from arcgate.net.streams import ByteStream, StreamReset, close_gently
from arcgate.wire.connect import format_refusal

ANSWER_TIMEOUT = 5.0
"""Seconds that a client gets to take a refusal."""

Establish = Callable[[], Awaitable[ByteStream]]
"""Answers 200 and returns the stream that carries the tunnel's bytes."""

OpenTarget = Callable[[], Awaitable[ByteStream]]
"""Returns the connection to a target that is not dialled; raises Refused."""

Carrying = Coroutine[Any, Any, ByteStream | None]
"""Carries an open tunnel to its end and records that; gives its stream when it ended cleanly, None when the client was
cut off. It has the tunnel in its care from when it is made: await it before anything else."""

_log = structlog.get_logger(__name__)


class Tunnelling:
    """Runs tunnels. `policy` returns the one that is in force at that moment; time-outs are in seconds."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        outbound: Outbound,
        accounting: Accounting,
        open_tunnels: OpenTunnels,
        most_tunnels: int,
        machine_limits: MachineLimits,
        idle_timeout: float,
        half_closed_timeout: float,
        hello_timeout: float = 10,
    ) -> None:
        self._policy = policy
        self._outbound = outbound
        self._accounting = accounting
        self._open_tunnels = open_tunnels
        self._most_tunnels = most_tunnels
        self._machine_limits = machine_limits
        self._idle_timeout = idle_timeout
        self._half_closed_timeout = half_closed_timeout
        self._hello_timeout = hello_timeout
        self.is_draining = False

    async def open(
        self,
        tunnel: Tunnel,
        client: ByteStream,
        establish: Establish,
        hand_over: HandOver | None,
        open_target: OpenTarget | None = None,
    ) -> Carrying | None:
        """Open a tunnel; return what carries it to its end, None when it was refused or cut, which has been told.

        `client` takes a refusal. Without `open_target` the tunnel's target is dialled. A cut cancels the task that is
        running here, and in which the tunnel is carried; the task goes on afterwards.
        """
        tunnel.belong_to_this_task()
        machine = tunnel.machine_id
        refusal = self._machine_limits.begin(machine, self._policy().limits_of(machine)) if machine else None
        self._open_tunnels.add(tunnel)
        carrying: Carrying | None = None
        try:
            if refusal is not None:
                await self.refuse(client, tunnel, refusal)
                return None
            if machine:
                tunnel.traffic.meter = self._machine_limits.meter_of(machine)
            streams = await self._begin(tunnel, client, establish, open_target)
            if streams is not None:
                carrying = self._carry(tunnel, machine, *streams, hand_over)
        except asyncio.CancelledError:
            # Taken back only when it was the cut and nobody else: a process that stops cancels the task too.
            if not tunnel.take_cut_back():
                raise
        finally:
            if carrying is None:
                self._forget(tunnel, machine)
        return carrying

    def _forget(self, tunnel: Tunnel, machine: str) -> None:
        tunnel.task = None
        self._open_tunnels.discard(tunnel)
        if machine:
            self._machine_limits.end(machine)

    async def _begin(
        self, tunnel: Tunnel, client: ByteStream, establish: Establish, open_target: OpenTarget | None
    ) -> tuple[ByteStream, ByteStream] | None:
        """Return the streams of the client and of the target; None when there is no tunnel, which has been told."""
        target: ByteStream | None = None
        ending = EndReason.INTERNAL
        try:
            target = await self._open(tunnel, open_target)
            streams = await establish(), target
            target = None
            return streams
        except Refused as refused:
            await self.refuse(client, tunnel, refused.verdict)
        except StreamReset:
            ending = EndReason.CLIENT_RESET
        except asyncio.CancelledError:
            ending = tunnel.cut_reason or EndReason.SHUTDOWN
            if target is None:
                self._accounting.refuse(tunnel, _verdict_of_cut(ending))
            raise
        finally:
            if target is not None:
                self._end(tunnel, ending, client, target)
        return None

    async def _carry(
        self, tunnel: Tunnel, machine: str, client: ByteStream, target: ByteStream, hand_over: HandOver | None
    ) -> ByteStream | None:
        """Carry an open tunnel to its end; see `Carrying`."""
        ending = EndReason.INTERNAL
        try:
            stream = await self._check_server_name(tunnel, client)
            if stream is None:
                ending = EndReason.SERVER_NAME_DIFFERS
            else:
                ending = EndReason(await self._relay(stream, target, tunnel.traffic, hand_over))
                if ending is EndReason.COMPLETED:
                    await target.close()
        except StreamReset:
            ending = EndReason.CLIENT_RESET
        except asyncio.CancelledError:
            ending = tunnel.cut_reason or EndReason.SHUTDOWN
            if not tunnel.take_cut_back():
                raise
        finally:
            self._end(tunnel, ending, client, target)
            self._forget(tunnel, machine)
        return client if ending is EndReason.COMPLETED else None

    def _end(self, tunnel: Tunnel, ending: EndReason, client: ByteStream, target: ByteStream) -> None:
        """Record the end of a started tunnel; nothing is awaited here, so it is even while the process is stopped."""
        tunnel.was_handed_over = isinstance(client, ChannelTunnel) and client.was_handed_over
        self._accounting.end(tunnel, ending, tunnel.end_detail)
        if ending is not EndReason.COMPLETED:
            # Both peers must be able to tell a cut from an end.
            target.abort()
            client.abort()

    async def _open(self, tunnel: Tunnel, open_target: OpenTarget | None) -> ByteStream:
        """Return the connection to the target, its start recorded; raises Refused."""
        if self.is_draining:
            raise Refused(Verdict(Reason.DRAINING))
        if not tunnel.verdict.is_allowed:
            raise Refused(tunnel.verdict)
        if len(self._open_tunnels) > self._most_tunnels:
            raise Refused(Verdict(Reason.LIMIT_REACHED))
        target = await (self._outbound.open(tunnel, self._policy()) if open_target is None else open_target())
        try:
            self._accounting.start(tunnel)
        except SpoolFull as error:
            target.abort()
            raise Refused(Verdict(Reason.AUDIT_UNAVAILABLE, detail=str(error))) from None
        return target

    async def _check_server_name(self, tunnel: Tunnel, client: ByteStream) -> ByteStream | None:
        """Return the client's stream, its first bytes read and put back where that is wanted; None if it must end."""
        check = check_of(tunnel)
        if check is ServerNameCheck.OFF:
            return client
        seen = await read_server_name(client, tunnel.target, self._hello_timeout)
        is_good = not seen.difference or self._may_differ(tunnel, check, seen.difference)
        return seen.stream if is_good else None

    def _relay(
        self, client: ByteStream, target: ByteStream, traffic: Traffic, hand_over: HandOver | None
    ) -> Awaitable[Ending]:
        return relay(
            client,
            target,
            traffic,
            idle_timeout=self._idle_timeout,
            half_closed_timeout=self._half_closed_timeout,
            hand_over=hand_over,
        )

    def _may_differ(self, tunnel: Tunnel, check: ServerNameCheck, difference: str) -> bool:
        """Record a server name that is not the target's; say whether the tunnel may go on."""
        if check is ServerNameCheck.ENFORCE:
            tunnel.end_detail = difference
            return False
        try:
            self._accounting.observe(tunnel, Verdict(Reason.SERVER_NAME_DIFFERS, detail=difference))
        except SpoolFull as error:
            tunnel.end_detail = f"{difference}; not recorded: {error}"
            return False
        return True

    async def refuse(self, client: ByteStream, tunnel: Tunnel, verdict: Verdict) -> None:
        """Record a refusal, answer it, and close."""
        verdict = self._accounting.refuse(tunnel, verdict)
        _log.info(
            "refused",
            correlation_id=tunnel.correlation_id,
            machine=tunnel.machine_id or None,
            target=tunnel.target.authority,
            reason=verdict.reason,
            detail=verdict.detail,
        )
        await answer(client, format_refusal(verdict, tunnel.correlation_id, tunnel.target.authority))


async def answer(client: ByteStream, message: bytes) -> None:
    """Send an answer after which the connection ends, and close it so that the answer arrives."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await client.send(message)
    except (StreamReset, TimeoutError):
        return
    await close_gently(client)


def _verdict_of_cut(ending: EndReason) -> Verdict:
    """Return the refusal of a tunnel that was cut while it was being opened."""
    reason = Reason.DRAINING if ending is EndReason.SHUTDOWN else Reason.TARGET_NOT_ALLOWED
    return Verdict(reason, detail=f"cut while it was being opened: {ending}")
