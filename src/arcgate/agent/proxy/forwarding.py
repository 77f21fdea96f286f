"""Absolute-form requests on their way: h11 reads and frames both sides, bodies stream through and are never held.

One request for each connection: the answer always ends with it, which every client understands and nothing can desync.
"""

import asyncio
from typing import Any

import h11

from arcgate.agent.proxy.absolute_form import AbsoluteRequest, response_fields
from arcgate.agent.proxy.request_log import RequestRecord
from arcgate.core.errors import Hop, HopError
from arcgate.core.verdicts import Reason
from arcgate.net.enterprise_proxies import ReadyProxy
from arcgate.net.relay import Ending
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tasks import cancel
from arcgate.wire.heads import Fields, HeadError, ResponseHead

LARGEST_HEAD = 64 * 1024
"""Bytes of a response's head, or of a chunk's line and the trailers of either side."""
LARGEST_CHUNK = 2**53 - 1
"""A chunk that claims more is an attack on somebody's integers."""


class Forwarder:
    """Carries one request to its target and the response back."""

    def __init__(
        self, client: ByteStream, received: bytes, request: AbsoluteRequest, record: RequestRecord, idle_timeout: float
    ) -> None:
        """Take over a client whose bytes so far (head and what followed) are `received`."""
        self._client = client
        self._request = request
        self._record = record
        self._idle_timeout = idle_timeout
        self._inbound = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)
        self._outbound = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._inbound.receive_data(received)

    async def exchange(self, target: ByteStream, proxy: ReadyProxy | None = None) -> bool:
        """Carry request and response; return whether the response went out whole.

        With a proxy the request keeps its absolute form and gets the proxy's fields. Raises HeadError or HopError while
        no answer has begun.
        """
        head = self._begin(proxy)
        loop = asyncio.get_running_loop()
        upload = loop.create_task(self._upload(target, head), name="forward upload")
        download = loop.create_task(self._download(target, proxy), name="forward download")
        try:
            await asyncio.wait({upload, download}, return_when=asyncio.FIRST_COMPLETED)
            # A target may answer before it has read the body: its answer counts, and the rest of the body doesn't.
            if upload.done() and (failure := upload.result()) is not None and not download.done():
                raise failure
            return await download
        finally:
            await cancel(upload, download)

    def _begin(self, proxy: ReadyProxy | None) -> bytes:
        event = self._next(self._inbound)
        if not isinstance(event, h11.Request):
            raise HeadError(Reason.REQUEST_MALFORMED, "the head can't be read")
        fields = self._request.fields + (proxy.fields if proxy is not None else ())
        target = self._request.path if proxy is None else self._request.uri
        return self._send(
            self._outbound,
            h11.Request(method=self._request.method, target=target, headers=_bytes((*fields, ("Connection", "close")))),
        )

    async def _upload(self, target: ByteStream, head: bytes) -> HeadError | StreamReset | None:
        """Send the request; return what was wrong with the client's part of it."""
        data = head
        while True:
            try:
                await self._bounded(target.send(data))
            except StreamReset:
                # The target may have answered before it closed: the download finds out.
                return None
            try:
                data = await self._next_piece()
            except (HeadError, StreamReset) as error:
                return error
            if not data:
                return None

    async def _next_piece(self) -> bytes:
        """Return the next bytes of the body as the target gets them, b"" when all have gone."""
        while (event := self._next(self._inbound)) is h11.NEED_DATA:
            self._inbound.receive_data(await self._bounded(self._client.receive()))
        if isinstance(event, h11.Data):
            self._record.traffic.up += len(event.data)
            return self._send(self._outbound, h11.Data(data=event.data))
        # Trailers stay here: nobody asked for them, and they could add what the head may not hold.
        return self._send(self._outbound, h11.EndOfMessage()) if isinstance(event, h11.EndOfMessage) else b""

    async def _download(self, target: ByteStream, proxy: ReadyProxy | None) -> bool:
        """Carry the response; return whether it went out whole."""
        while True:
            event = await self._response_event(target)
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 100 and self._inbound.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                    await self._bounded(self._client.send(self._send(self._inbound, go_on)))
            elif isinstance(event, h11.Response):
                await self._send_head(event, proxy)
            elif isinstance(event, h11.Data):
                await self._bounded(self._client.send(self._send(self._inbound, h11.Data(data=event.data))))
                self._record.traffic.down += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                await self._bounded(self._client.send(self._send(self._inbound, h11.EndOfMessage())))
                self._record.reason = Ending.COMPLETED
                return True
            else:
                raise StreamReset("the connection ended before the response")

    async def _response_event(self, target: ByteStream) -> Any:
        """Return the next event of the target's; a failure once the answer has begun is a cut (StreamReset)."""
        has_begun = bool(self._record.status)
        try:
            while (event := self._next(self._outbound)) is h11.NEED_DATA:
                self._outbound.receive_data(await self._bounded(target.receive()))
        except (HeadError, StreamReset) as error:
            if has_begun:
                self._record.reason = Ending.TARGET_RESET
                raise StreamReset(str(error)) from None
            raise _bad_response(self._request, str(error)) from None
        if isinstance(event, h11.ConnectionClosed) and not has_begun:
            raise _bad_response(self._request, "the connection ended before the response")
        return event

    async def _send_head(self, response: h11.Response, proxy: ReadyProxy | None) -> None:
        if response.status_code == 407:
            if proxy is not None:
                raise await proxy.refused(ResponseHead(407, "", _texts(response.headers)))
            raise HopError(
                Hop.TARGET,
                "TARGET_ANSWER_INVALID",
                f"{self._request.target} answered 407, as if it were a proxy.",
                remedy="Check what is behind this name and port.",
            )
        try:
            fields = response_fields(_texts(response.headers))
            data = self._send(
                self._inbound,
                h11.Response(
                    status_code=response.status_code,
                    reason=response.reason,
                    headers=_bytes((*fields, ("Connection", "close"))),
                ),
            )
        except HeadError as error:
            raise _bad_response(self._request, error.detail) from None
        self._record.status = response.status_code
        await self._bounded(self._client.send(data))

    def _next(self, connection: h11.Connection) -> Any:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise HeadError(Reason.REQUEST_MALFORMED, str(error)) from None
        # h11 takes chunk sizes of up to 20 digits and doesn't show them.
        if getattr(connection._reader, "_bytes_in_chunk", 0) > LARGEST_CHUNK:
            raise HeadError(Reason.REQUEST_MALFORMED, "a chunk's size is out of bounds")
        return event

    @staticmethod
    def _send(connection: h11.Connection, event: Any) -> bytes:
        try:
            return connection.send(event) or b""
        except h11.LocalProtocolError as error:
            raise HeadError(Reason.REQUEST_MALFORMED, str(error)) from None

    async def _bounded(self, step: Any) -> Any:
        try:
            async with asyncio.timeout(self._idle_timeout):
                return await step
        except TimeoutError:
            self._record.reason = Ending.IDLE
            raise StreamReset("nothing came for too long") from None


def _bytes(fields: Fields) -> list[tuple[bytes, bytes]]:
    # h11 takes texts for ASCII, but field values may hold more (RFC 9110 section 5.5).
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields]


def _texts(headers: Any) -> Fields:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)


def _bad_response(request: AbsoluteRequest, cause: str) -> HopError:
    return HopError(
        Hop.TARGET,
        "TARGET_ANSWER_INVALID",
        f"{request.target} did not answer with well-formed HTTP.",
        cause=cause,
        remedy="Check that a web server is behind this name and port.",
    )
