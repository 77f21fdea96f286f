"""One worker of a gateway node: puts the parts together, says when it is ready, and drains at SIGTERM."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, time

import structlog

from arcgate import __version__
from arcgate.core.catalogue import catalogue_in_force, shipped_catalogue
from arcgate.core.configuration import Configuration, GatewaySettings
from arcgate.core.daily_bytes import DAY
from arcgate.core.errors import ArcgateError, StateError
from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.core.name_cache import Lives, NameCache
from arcgate.core.names import Address, HostName, Target, parse_target
from arcgate.core.policy import Policy
from arcgate.core.snapshot import Snapshot
from arcgate.core.verdicts import EndReason
from arcgate.gateway.accounting import Accounting
from arcgate.gateway.front_door import FrontDoor, Names, pass_on
from arcgate.gateway.grants import Grants
from arcgate.gateway.incoming import IncomingConnections, Patience, Place
from arcgate.gateway.installer import Installer
from arcgate.gateway.machine_ledgers import open_ledgers
from arcgate.gateway.machine_limits import MachineLimits, MostOfMachine
from arcgate.gateway.name_proofs import NameProofs
from arcgate.gateway.node import BATCH, ControlPlane, SnapshotWatch, send_audit
from arcgate.gateway.node_tls import NodeTls, TlsFiles
from arcgate.gateway.outbound import Outbound
from arcgate.gateway.sessions import Sessions, Timeouts
from arcgate.gateway.signed_channels import SignedChannels
from arcgate.gateway.spool import Spool
from arcgate.gateway.strangers import Strangers
from arcgate.gateway.tunnelling import Tunnelling
from arcgate.gateway.tunnels import OpenTunnels
from arcgate.net import event_loop
from arcgate.net.caching_resolver import CachingResolver
from arcgate.net.descriptors import OUT_OF_DESCRIPTORS, use_all_descriptors
from arcgate.net.dialer import dial
from arcgate.net.http_client import HttpClient
from arcgate.net.kept_lines import KeptLines
from arcgate.net.listener import Listener
from arcgate.net.logs import configure_logging
from arcgate.net.resolver import SystemResolver
from arcgate.net.streams import ByteStream
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import client_context
from arcgate.wire.heads import Limits

HEARTBEAT = 30.0
"""Seconds between a node's reports, and between the sweeps for expired certificates."""

_log = structlog.get_logger(__name__)


class Worker:
    """All parts of one worker. `listening` are sockets that the supervisor has bound.

    `control_socket` is where a control plane of the same server takes connections that the front door passes on.
    """

    def __init__(
        self,
        configuration: Configuration,
        listening: Sequence[socket.socket],
        number: int,
        control_socket: Path | None = None,
    ) -> None:
        self._configuration = configuration
        self._control_socket = control_socket
        settings = configuration.gateway
        folder = configuration.state_dir / "gateway"
        self._node = f"{settings.node_name or socket.gethostname()}/{number}"
        self._policy = Policy(Snapshot(), shipped_catalogue(), settings.open_networks)
        self._open_tunnels = OpenTunnels()
        self._spool = Spool(folder / "spool" / f"worker-{number}")
        self._resolver = _make_resolver(settings)
        self._control_address = parse_target(settings.control_address) if settings.control_address else None
        self._control = self._make_control()
        self._tls = NodeTls(
            self._control,
            TlsFiles(folder / f"tls-{number}"),
            f"*{configuration.gateway_suffix}",
            configuration.given_certificate,
            ssl.TLSVersion.TLSv1_3,
            _ticket_secret(configuration),
            is_given_later=bool(configuration.acme.directory),
        )
        self._watch = SnapshotWatch(self._control, folder / f"snapshot-{number}.json", self._publish)
        self._own = [one.getsockname()[:2] for one in listening]
        self._ledgers = open_ledgers(configuration.workers_folder, number, settings.workers, int(time()) // DAY)
        self._machine_limits = self._make_machine_limits()
        self._tunnelling = self._make_tunnelling()
        self._incoming = self._make_incoming(number)
        self._sessions = self._make_sessions()
        self._listener = Listener(listening, self._make_front_door().handle)

    async def run(self, stop: asyncio.Event, ready: int | None) -> None:
        """Serve until `stop`, then drain."""
        recovered = self._spool.recover(_now().isoformat(timespec="milliseconds"))
        if recovered:
            _log.warning("tunnels of an earlier run have ended unseen", count=recovered)
        self._watch.load()
        background = [
            spawn("keep TLS", self._tls.keep()),
            spawn("follow revisions", self._watch.follow()),
            spawn("sync spool", self._spool.keep_synced()),
            spawn("send audit", send_audit(self._control, self._spool)),
            spawn("report", self._report()),
        ]
        try:
            if await _first(self._tls.is_ready, stop):
                self._incoming.start()
                self._listener.start()
                _say_ready(ready, self._listener.addresses)
                _log.info("gateway is listening", addresses=",".join(self._listener.addresses), node=self._node)
                await stop.wait()
            await self._drain()
        finally:
            await cancel(*background)
            await self._control.close()
            await self._resolver.close()
            self._spool.close()
            self._ledgers.close()

    async def _drain(self) -> None:
        self._sessions.drain()
        _log.info("draining", open_tunnels=len(self._open_tunnels))
        self._incoming.let_go()
        drain_timeout = self._configuration.gateway.drain_timeout
        await asyncio.gather(self._listener.stop(drain_timeout), self._incoming.stop(drain_timeout))
        with contextlib.suppress(TimeoutError, ArcgateError):
            async with asyncio.timeout(2):
                await self._send_last_records()

    async def _send_last_records(self) -> None:
        while True:
            lines, position = self._spool.unsent(BATCH)
            if not lines:
                return
            await self._control.send_records(lines)
            self._spool.forget(position)

    def _publish(self, snapshot: Snapshot) -> None:
        self._policy = Policy(
            snapshot, catalogue_in_force(snapshot.catalogue), self._configuration.gateway.open_networks
        )
        cut = self._open_tunnels.check_again(self._policy)
        if cut:
            _log.info("tunnels cut by a new revision", count=cut, revision=snapshot.revision)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            self._open_tunnels.cut_expired(_now())
            self._machine_limits.tell_used_up()
            with contextlib.suppress(ArcgateError):  # the next report tells the same
                await self._control.ask(
                    "POST",
                    "/node/v1/heartbeat",
                    {
                        "node": self._node,
                        "version": __version__,
                        "revision": self._policy.snapshot.revision,
                        "openTunnels": len(self._open_tunnels),
                        "listen": self._listener.addresses,
                    },
                )

    def _make_control(self) -> ControlPlane:
        settings = self._configuration.gateway
        ca = _read_text(settings.control_ca_file) if settings.control_ca_file else ""
        secret_file = settings.node_secret_file or self._configuration.state_dir / "secrets" / "node.secret"
        agent = f"arcgate-gateway/{__version__}"
        client = HttpClient(self._open_control, client_context(ca_pem=ca), agent, KeptLines())
        return ControlPlane(client, settings.control_url.rstrip("/"), _read_text(secret_file).strip())

    async def _open_control(self, target: Target) -> ByteStream:
        where = self._control_address or target
        addresses: list[Address] = (
            [where.host] if not isinstance(where.host, str) else await self._resolver.resolve(where.host)
        )
        return await dial(addresses, where.port, self._configuration.gateway.dial_timeout)

    def _make_tunnelling(self) -> Tunnelling:
        settings = self._configuration.gateway
        return Tunnelling(
            policy=lambda: self._policy,
            outbound=Outbound(
                self._resolver,
                self._control_address,
                self._is_own_address,
                settings.dns_timeout,
                settings.dial_timeout,
                self._resolver.prefer,
            ),
            accounting=Accounting(self._spool, self._node, _now),
            open_tunnels=self._open_tunnels,
            most_tunnels=settings.max_tunnels,
            machine_limits=self._machine_limits,
            idle_timeout=settings.idle_timeout,
            half_closed_timeout=settings.half_closed_timeout,
            hello_timeout=settings.handshake_timeout,
        )

    def _make_incoming(self, number: int) -> IncomingConnections:
        settings = self._configuration.gateway
        return IncomingConnections(
            policy=lambda: self._policy,
            tunnelling=self._tunnelling,
            grants=Grants(self._control),
            place=Place(number, settings.workers, self._configuration.workers_folder),
            patience=Patience(settings.incoming_keep_alive, settings.incoming_wait, settings.idle_timeout),
            clock=_now,
        )

    def _make_machine_limits(self) -> MachineLimits:
        settings = self._configuration.gateway
        most = MostOfMachine(
            settings.machine_tunnels,
            settings.machine_setups_per_second,
            settings.machine_bandwidth,
            settings.machine_daily_bytes,
        )
        return MachineLimits(most, clock=monotonic, today=time, on_used_up=self._cut_machine, ledgers=self._ledgers)

    def _cut_machine(self, machine: str) -> None:
        cut = self._open_tunnels.cut_machine(machine, EndReason.DAY_USED_UP)
        _log.warning("a machine has carried its bytes of the day", machine=machine, cut=cut)

    def _make_sessions(self) -> Sessions:
        settings = self._configuration.gateway
        return Sessions(
            tls=lambda: self._tls.context,
            policy=lambda: self._policy,
            clock=_now,
            tunnelling=self._tunnelling,
            serve_plain=Installer(self._control.get, self._control.report, self._configuration.gateway_suffix).serve,
            signed_channels=SignedChannels(
                facts=lambda: self._tls.facts,
                policy=lambda: self._policy,
                gateway_suffix=self._configuration.gateway_suffix,
                clock=_now,
            ),
            timeouts=Timeouts(settings.handshake_timeout, settings.head_timeout, settings.channel_idle_timeout),
            limits=Limits(settings.largest_head, settings.most_fields),
            hand_over=HandOverPolicy(
                HandOverMode(settings.hand_over), settings.hand_over_after_bytes, settings.hand_over_idle
            ),
            audit_process=settings.audit_process,
            held_end_silence=settings.held_end_silence,
            incoming=self._incoming,
        )

    def _make_front_door(self) -> FrontDoor:
        settings = self._configuration.gateway
        return FrontDoor(
            Names(
                self._configuration.gateway_suffix,
                frozenset(self._configuration.control_names),
                f".his.{self._configuration.cloud.domain}",
                nameless_is_control=bool(self._configuration.cloud.extra_names),
            ),
            serve_gateway=self._sessions.serve,
            open_control=self._open_control_listener if self._control_address else None,
            prove_name=self._name_proofs(),
            hello_timeout=settings.handshake_timeout,
            idle_timeout=settings.idle_timeout,
            strangers=Strangers(settings.max_handshakes, settings.max_handshakes_per_address, monotonic),
        )

    def _name_proofs(self) -> Callable[[ByteStream, HostName], Awaitable[None]] | None:
        if not self._configuration.acme.directory:
            return None
        return NameProofs(self._configuration.acme_challenges, self._configuration.gateway.handshake_timeout).prove

    async def _open_control_listener(self, client: str) -> ByteStream:
        if self._control_socket is not None:
            return await pass_on(self._control_socket, client)
        assert self._control_address is not None
        return await self._open_control(self._control_address)

    def _is_own_address(self, address: Address, port: int) -> bool:
        """Say whether dialling this would come back to us: our port, on an address that this host answers for."""
        if all(port != own_port for _, own_port in self._own):
            return False
        return _is_local(address)


def _ticket_secret(configuration: Configuration) -> bytes:
    """Return what the supervisor has made for all its workers, nothing when this one was started by itself."""
    try:
        return configuration.ticket_secret_file.read_bytes()
    except OSError:
        return b""


def _make_resolver(settings: GatewaySettings) -> CachingResolver:
    lives = Lives(settings.dns_least_ttl, settings.dns_most_ttl, settings.dns_negative_ttl, settings.dns_cache_names)
    system = SystemResolver(servers=settings.dns_servers, hosts=settings.hosts, timeout=settings.dns_timeout)
    return CachingResolver(system, NameCache(lives), most_at_once=settings.dns_lookups, clock=monotonic)


def _is_local(address: Address) -> bool:
    """Say whether the address is this host's own: only those can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.errno in OUT_OF_DESCRIPTORS  # not known then, and a loop must not pass
    return True


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StateError("FILE_UNREADABLE", f"{path} can't be read.", cause=str(error)) from None


async def _first(wanted: asyncio.Event, other: asyncio.Event) -> bool:
    """Wait for either event; say whether it was the wanted one."""
    waits = [spawn("wait", wanted.wait()), spawn("wait", other.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await cancel(*waits)
    return wanted.is_set()


def _say_ready(descriptor: int | None, addresses: list[str]) -> None:
    if descriptor is not None:
        os.write(descriptor, json.dumps({"ready": True, "addresses": addresses, "pid": os.getpid()}).encode() + b"\n")
        os.close(descriptor)


def _now() -> datetime:
    return datetime.now(UTC)


async def _main(arguments: argparse.Namespace) -> None:
    configuration = Configuration.model_validate_json(arguments.configuration.read_bytes())
    configure_logging(configuration.log.level, configuration.log.format)
    use_all_descriptors()
    listening = [socket.socket(fileno=descriptor) for descriptor in arguments.listen_fd]
    for one in listening:
        one.setblocking(False)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Worker(configuration, listening, arguments.worker, arguments.control_socket).run(stop, arguments.ready_fd)


def main() -> None:
    """Run a worker until SIGTERM."""
    parser = argparse.ArgumentParser(prog="arcgate.gateway", description="One worker of a gateway node.")
    parser.add_argument("--configuration", type=Path, required=True, help="file with the configuration as JSON")
    parser.add_argument("--listen-fd", type=int, action="append", required=True, help="inherited listening socket")
    parser.add_argument("--worker", type=int, default=0, help="number of this worker, from 0")
    parser.add_argument("--control-socket", type=Path, help="where the control plane takes connections with an address")
    parser.add_argument("--ready-fd", type=int, help="descriptor to report readiness on")
    try:
        event_loop.run(_main(parser.parse_args()))
    except ArcgateError as error:
        sys.stderr.write(f"arcgate gateway: {error.one_line()}\n")
        sys.exit(1)
