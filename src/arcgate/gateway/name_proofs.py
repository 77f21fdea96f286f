"""Proves to a certificate authority that a name is ours: TLS-ALPN-01 of ACME (RFC 8737).

The control plane orders certificates and leaves a certificate for each name that is being looked at; the front
door brings the authority's connections here. Nothing else is ever told on them.
"""

import asyncio
import contextlib
import ssl
from pathlib import Path

import structlog

from arcgate.core.errors import StateError
from arcgate.core.names import HostName
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tls import TlsStream, server_context
from arcgate.wire.client_hello import UNRECOGNIZED_NAME_ALERT

PROOF_PROTOCOL = b"acme-tls/1"
"""The only protocol that an authority's connection offers (RFC 8737 section 3)."""

_log = structlog.get_logger(__name__)


class NameProofs:
    """Answers with the certificates of a folder, each named after its name."""

    def __init__(self, folder: Path, timeout: float) -> None:
        """Take the folder and the seconds of a handshake."""
        self._folder = folder
        self._timeout = timeout

    async def prove(self, stream: ByteStream, name: HostName) -> None:
        """Serve one connection to its end."""
        file = self._folder / f"{name}.pem"
        try:
            context = server_context(file, file)
        except StateError:
            _log.info("nobody asked for this proof of a name", name=name, client=stream.peer)
            with contextlib.suppress(StreamReset):
                await stream.send(UNRECOGNIZED_NAME_ALERT)
            return
        context.set_alpn_protocols([PROOF_PROTOCOL.decode("ascii")])
        client = TlsStream(stream, context, server_side=True)
        try:
            async with asyncio.timeout(self._timeout):
                await client.handshake()
        except (TimeoutError, ssl.SSLError, StreamReset) as error:
            _log.info("an authority's look at a name failed", name=name, cause=str(error) or "time-out")
            return
        _log.info("a name is proved to an authority", name=name, client=stream.peer)
        with contextlib.suppress(StreamReset):  # the authority has seen enough, and may have gone
            await client.end()
