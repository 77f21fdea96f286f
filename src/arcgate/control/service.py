"""The control plane's process: `python -m arcgate.control --configuration FILE`, and descriptors.

The supervisor writes the file (Configuration.model_dump_json(), 0600), may hand over listening sockets, and
reads one line of JSON from the ready descriptor when requests are accepted.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from arcgate.control.acme import keep_certified
from arcgate.control.app import create_app
from arcgate.control.audit.retention import keep_swept
from arcgate.control.authority.server_certificate import (
    keep_renewed,
    server_certificate_file,
    server_names,
    write_ca_file,
)
from arcgate.control.building import open_control
from arcgate.control.context import ControlContext
from arcgate.control.server import make_server
from arcgate.core.configuration import Configuration
from arcgate.core.errors import ArcgateError, StateError
from arcgate.core.names import parse_target
from arcgate.net.certificate_files import CertificateFiles
from arcgate.net.logs import configure_logging
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import server_context

BACKLOG = 2048
"""Connections that may wait to be accepted."""

_log = structlog.get_logger("arcgate.control")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return 0 after a clean end, 1 when we could not start or go on."""
    options = _options(arguments)
    try:
        configuration = load_configuration(options.configuration)
        configure_logging(configuration.log.level, configuration.log.format)
        asyncio.run(
            run(configuration, listen_fds=options.listen_fd, front_fds=options.front_fd, ready_fd=options.ready_fd)
        )
    except ArcgateError as error:
        sys.stderr.write(f"{error.one_line()}\n")
        return 1
    except (OSError, SQLAlchemyError) as error:
        failure = StateError("CONTROL_FAILED", "The control plane can't go on.", cause=str(error))
        sys.stderr.write(f"{failure.one_line()}\n")
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m arcgate.control", description="Arcgate's control plane.")
    parser.add_argument("--configuration", type=Path, required=True, help="JSON file with the whole configuration")
    listen = "descriptor of a listening socket, one flag for each; default is a socket at control.listen"
    parser.add_argument("--listen-fd", type=int, action="append", default=[], help=listen)
    front = "descriptor of a listening Unix socket by which the front door passes connections on, one flag for each"
    parser.add_argument("--front-fd", type=int, action="append", default=[], help=front)
    parser.add_argument("--ready-fd", type=int, help="descriptor that a line of JSON is written to when all is ready")
    return parser.parse_args(arguments)


def load_configuration(path: Path) -> Configuration:
    """Return the configuration that the supervisor wrote; raises StateError (CONFIGURATION_UNREADABLE)."""
    try:
        return Configuration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        cause = str(error).splitlines()[0]
        raise StateError("CONFIGURATION_UNREADABLE", f"{path} can't be read.", cause=cause) from None


async def run(
    configuration: Configuration,
    *,
    listen_fds: Sequence[int] = (),
    front_fds: Sequence[int] = (),
    ready_fd: int | None = None,
) -> None:
    """Serve until a signal comes; raises StateError when the state or the certificate can't be used."""
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(open_control(configuration))
        descriptors: Sequence[int | None] = listen_fds or (None,)
        listeners = [stack.enter_context(open_listener(configuration, one)) for one in descriptors]
        tls, renewing = _tls(context)
        server = make_server(
            create_app(context),
            tls,
            lambda: _tell_ready(listeners[0], ready_fd),
            context.changes.close,
            [stack.enter_context(socket.socket(fileno=one)) for one in front_fds],
        )
        tasks = [spawn("audit retention", keep_swept(context))]
        if renewing is not None:
            names = server_names(configuration)
            tasks.append(spawn("certificate renewal", keep_renewed(context.authority, names, renewing, tls)))
        elif (given := configuration.given_certificate) is not None:
            files = CertificateFiles(*given)
            tasks.append(spawn("certificate files", files.follow(lambda: files.load_into(tls))))
        if configuration.acme.directory:
            tasks.append(spawn("certificate orders", keep_certified(context)))
        stack.push_async_callback(cancel, *tasks)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        _log.info(
            "control plane starts", address=", ".join(map(_address, listeners)), state=str(configuration.state_dir)
        )
        await server.serve(sockets=listeners)
        _log.info("control plane ended")


def open_listener(configuration: Configuration, descriptor: int | None = None) -> socket.socket:
    """Return the inherited listening socket, or one at control.listen; raises StateError (LISTEN_FAILED)."""
    try:
        if descriptor is not None:
            listener = socket.socket(fileno=descriptor)
        else:
            place = parse_target(configuration.control.listen)
            listener = socket.create_server(
                (str(place.host), place.port), family=_family(str(place.host)), backlog=BACKLOG
            )
    except OSError as error:
        raise StateError(
            "LISTEN_FAILED",
            f"The control plane can't listen on {configuration.control.listen}.",
            cause=str(error),
            remedy="Stop what uses the address, or set control.listen to another one.",
        ) from None
    listener.setblocking(False)
    return listener


def _family(host: str) -> socket.AddressFamily:
    try:
        return socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return socket.AF_INET


def _tls(context: ControlContext) -> tuple[ssl.SSLContext, Path | None]:
    """Return the server's TLS context, and the file to renew when our own authority issued its certificate."""
    configuration = context.configuration
    write_ca_file(context.authority, configuration.state_dir, configuration.acme.ca_file)
    given = configuration.given_certificate
    if given is not None and (given[0].exists() or not configuration.acme.directory):
        return server_context(*given), None
    path = configuration.state_dir / "control" / "tls.pem"
    server_certificate_file(context.authority, server_names(configuration), path)
    # What ACME gets soon takes its place, and a renewal must not bring it back.
    return server_context(path, path), None if configuration.acme.directory else path


def _tell_ready(listener: socket.socket, descriptor: int | None) -> None:
    if descriptor is None:
        return
    line = json.dumps({"ready": True, "address": _address(listener)}) + "\n"
    with os.fdopen(descriptor, "w", encoding="ascii") as pipe:
        pipe.write(line)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
