"""The node API's requests."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from arcgate.control.audit.ingest import keep_records
from arcgate.control.authority.authority import pem_of
from arcgate.control.authority.requests import read_request_key
from arcgate.control.bodies import read_json_object
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.his.assertions import server_time
from arcgate.control.node.incoming import redeem, wait_for_cut
from arcgate.control.node.reports import keep_report
from arcgate.control.node.secret import load_node_secret, require_node
from arcgate.control.node.snapshots import newer_entries
from arcgate.control.polling import read_wait
from arcgate.core.errors import InputError

LARGEST_REQUEST = 64 * 1024
"""Bytes of a heartbeat or certificate request."""
LARGEST_AUDIT_BATCH = 8 * 1024 * 1024
"""Bytes of a batch of audit records."""

Handler = Callable[[Request], Awaitable[Response]]


class NodeService:
    """Handlers of the node API, over one context; raises StateError when the node secret can't be used."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self._secret = load_node_secret(context.configuration)

    def routes(self) -> list[Route]:
        """Return the routes of the node API."""
        return [
            self._route("/node/v1/snapshot", "GET", self.tell_snapshot),
            self._route("/node/v1/audit", "POST", self.take_audit),
            self._route("/node/v1/certificate", "POST", self.certify),
            self._route("/node/v1/incomingConnections", "POST", self.redeem_grant),
            self._route("/node/v1/incomingConnections/{tunnel}", "GET", self.tell_cut),
            self._route("/node/v1/heartbeat", "POST", self.hear),
            self._route("/node/v1/authority", "GET", self.tell_authority),
        ]

    def _route(self, path: str, method: str, handler: Handler) -> Route:
        async def guarded(request: Request) -> Response:
            require_node(request, self._secret)
            return await handler(request)

        return Route(path, guarded, methods=[method])

    async def tell_snapshot(self, request: Request) -> Response:
        """Tell the entries that the node doesn't have yet, waiting for some if asked to."""
        document = await newer_entries(self._context, *read_wait(request))
        return Response(status_code=204) if document is None else JSONResponse(document)

    async def take_audit(self, request: Request) -> Response:
        """Keep audit records; those that were kept before count as accepted."""
        document = await read_json_object(request, LARGEST_AUDIT_BATCH)
        return JSONResponse(await keep_records(self._context.store, document.get("records")))

    async def certify(self, request: Request) -> Response:
        """Give the node a server certificate for the gateways' names."""
        document = await read_json_object(request, LARGEST_REQUEST)
        pem = document.get("csr")
        if not isinstance(pem, str):
            raise ApiError(400, "InvalidRequestContent", "The value of 'csr' must be a string.", target="csr")
        try:
            key = read_request_key(pem)
        except InputError as error:
            raise refuse_input(error, "CertificateRequestInvalid", target="csr") from None
        certificate = self._context.authority.sign_server(key, [f"*{self._context.configuration.gateway_suffix}"])
        return JSONResponse(
            {
                "certificate": pem_of(certificate),
                "chain": self._context.authority.ca_pem,
                "notAfter": server_time(certificate.not_valid_after_utc),
            }
        )

    async def redeem_grant(self, request: Request) -> Response:
        """Use the grant of a connection to a machine up."""
        return JSONResponse(await redeem(self._context, await read_json_object(request, LARGEST_REQUEST)))

    async def tell_cut(self, request: Request) -> Response:
        """Tell that a connection to a machine must end, waiting for that if asked to."""
        _, wait = read_wait(request)
        reason = await wait_for_cut(self._context, request.path_params["tunnel"], wait)
        return Response(status_code=204) if reason is None else JSONResponse({"cut": reason})

    async def hear(self, request: Request) -> Response:
        """Keep the node's report."""
        await keep_report(self._context, await read_json_object(request, LARGEST_REQUEST))
        return JSONResponse({})

    async def tell_authority(self, _request: Request) -> Response:
        """Tell which authorities sign machines' certificates."""
        return JSONResponse({"machineAuthorities": self._context.authority.machine_authorities_pem})


def routes(context: ControlContext) -> list[Route]:
    """Return the routes of the node API."""
    return NodeService(context).routes()
