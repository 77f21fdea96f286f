"""What `arcgate serve` will run: listening sockets, the children's configuration, and their command lines."""

import contextlib
import fcntl
import os
import secrets
import socket
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from arcgate.cli.child_process import ChildSpec
from arcgate.core.configuration import Configuration
from arcgate.core.errors import ConfigurationError, Place, StateError
from arcgate.net.files import write_file
from arcgate.net.listener import address_of, has_ipv6_loopback, listen
from arcgate.net.local_sockets import listen_locally
from arcgate.net.ticket_keys import SECRET_SIZE

BIND_TRIES = 20
"""Tries to get one free port on every address."""


class Role(StrEnum):
    """What a host runs."""

    ALL = "all"
    GATEWAY = "gateway"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """Sockets, final configuration and children.

    In role `all` the control plane has a socket of its own, and one by which the front door passes connections on.
    """

    role: Role
    configuration: Configuration
    front: tuple[socket.socket, ...]
    control: tuple[socket.socket, ...]
    file: Path
    passed_on: tuple[socket.socket, ...] = ()

    @property
    def addresses(self) -> list[str]:
        """ADDRESS:PORT of the front door."""
        return [address_of(one) for one in self.front]

    def control_child(self) -> ChildSpec | None:
        """Return the control plane's process, if this host runs it."""
        if self.role is Role.GATEWAY:
            return None
        sockets = self.front if self.role is Role.CONTROL else self.control
        fronts = tuple(part for one in self.passed_on for part in ("--front-fd", str(one.fileno())))
        return self._child("control", "control", sockets, fronts, self.passed_on)

    def gateway_children(self) -> list[ChildSpec]:
        """Return the gateway's workers, if this host runs them."""
        if self.role is Role.CONTROL:
            return []
        more = ("--control-socket", str(self.configuration.front_socket)) if self.passed_on else ()
        return [
            self._child("gateway", f"gateway-{number}", self.front, ("--worker", str(number), *more))
            for number in range(self.configuration.gateway.workers)
        ]

    def _child(
        self,
        role: str,
        name: str,
        sockets: Iterable[socket.socket],
        more: tuple[str, ...],
        others: Iterable[socket.socket] = (),
    ) -> ChildSpec:
        """Return a process that listens on `sockets`, and is told about `others` by `more`."""
        descriptors = tuple(one.fileno() for one in sockets)
        listening = tuple(part for number in descriptors for part in ("--listen-fd", str(number)))
        module = (sys.executable, "-m", f"arcgate.{role}", "--configuration", str(self.file))
        handed = (*descriptors, *(one.fileno() for one in others))
        return ChildSpec(role, name, (*module, *listening, *more), handed)

    def close(self) -> None:
        """Let go of sockets and the children's configuration."""
        for one in (*self.front, *self.control, *self.passed_on):
            one.close()
        if self.passed_on:
            self.configuration.front_socket.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)
        if self.role is not Role.CONTROL:
            self.configuration.ticket_secret_file.unlink(missing_ok=True)


def prepare(configuration: Configuration, role: Role) -> ServerPlan:
    """Bind the sockets and write the children's configuration; raises StateError or ConfigurationError."""
    check_role(configuration, role)
    prepare_state_folder(configuration.state_dir)
    front: list[socket.socket] = []
    control: list[socket.socket] = []
    passed_on: list[socket.socket] = []
    try:
        front += bind(configuration.listen.addresses, configuration.listen.port)
        if role is Role.ALL:
            control.append(listen("127.0.0.1", 0))
            passed_on.append(listen_locally(configuration.front_socket))
        final = complete(configuration, role, front[0].getsockname()[1], address_of(control[0]) if control else "")
        file = configuration.state_dir / "run" / f"{role}.json"
        write_file(file, final.model_dump_json())
        if role is not Role.CONTROL:
            write_file(final.ticket_secret_file, secrets.token_bytes(SECRET_SIZE))
        return ServerPlan(role, final, tuple(front), tuple(control), file, tuple(passed_on))
    except BaseException:
        for one in (*front, *control, *passed_on):
            one.close()
        raise


def check_role(configuration: Configuration, role: Role) -> None:
    """Refuse a gateway that does not know its control plane, and ACME without both; raises ConfigurationError."""
    if role is not Role.ALL and configuration.acme.directory:
        raise ConfigurationError(
            Place("configuration", 0, "acme.directory"),
            "only a server in one piece orders its certificate itself.",
            remedy="Let an ACME client beside it write files, and name them in tls.certificate_file and tls.key_file.",
        )
    if role is Role.GATEWAY and not configuration.gateway.control_url:
        raise ConfigurationError(
            Place("configuration", 0, "gateway.control_url"),
            "a gateway by itself needs to know its control plane.",
            remedy="Set gateway.control_url, gateway.control_ca_file and gateway.node_secret_file.",
        )


def complete(configuration: Configuration, role: Role, port: int, control_address: str) -> Configuration:
    """Return the configuration for the children: the port that was bound, and where the control plane is."""
    cloud = configuration.cloud
    if configuration.listen.port == 0:
        cloud = cloud.model_copy(update={"public_port": port})
    listening = configuration.listen.model_copy(update={"port": port})
    result = configuration.model_copy(update={"cloud": cloud, "listen": listening})
    if role is not Role.ALL:
        return result
    gateway = configuration.gateway.model_copy(
        update={
            "control_url": result.url_of(f"management.{cloud.domain}"),
            "control_address": control_address,
            "control_ca_file": configuration.state_dir / "ca.pem",
        }
    )
    return result.model_copy(update={"gateway": gateway})


def prepare_state_folder(folder: Path) -> None:
    """Make the state folder, for us alone; raises StateError when somebody else may write there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        raise StateError(
            "STATE_FOLDER_UNUSABLE",
            f"The state folder {folder} can't be used.",
            cause=error.strerror or str(error),
            remedy="Run as the user that owns it, or set state_dir to another folder.",
        ) from None
    if mode & stat.S_IWOTH:
        raise StateError(
            "STATE_FOLDER_OPEN",
            f"Everybody on this host may write the state folder {folder}.",
            remedy=f"Look through it, then: chmod 0700 {folder}",
        )


def bind(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Return a listening socket for each address, all on one port; raises StateError (LISTEN_FAILED)."""
    wanted = [address for address in addresses if address != "::" or has_ipv6_loopback()]
    for last in (False,) * (BIND_TRIES - 1) + (True,):
        bound: list[socket.socket] = []
        try:
            for address in wanted:
                bound.append(listen(address, bound[0].getsockname()[1] if bound else port))
            return bound
        except BaseException as error:
            for one in bound:
                one.close()
            # A free port on one address may be taken on the next.
            if port != 0 or last or not isinstance(error, StateError):
                raise
    raise AssertionError("unreachable")


@contextlib.contextmanager
def sole_server(folder: Path, role: Role) -> Iterator[None]:
    """Hold the state folder's locks for a role; raises StateError (ALREADY_RUNNING)."""
    roles = (Role.CONTROL, Role.GATEWAY) if role is Role.ALL else (role,)
    with contextlib.ExitStack() as held:
        for one in roles:
            descriptor = os.open(folder / "run" / f"{one}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            held.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StateError(
                    "ALREADY_RUNNING",
                    f"Another 'arcgate serve' runs the {one} in {folder}.",
                    remedy="Stop it first, or give this one another state_dir.",
                ) from None
        yield
