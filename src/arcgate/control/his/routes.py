"""The agent service's requests."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from arcgate.control.bodies import read_json_object
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.his.assertions import server_time
from arcgate.control.his.authentication import Authentication
from arcgate.control.his.conflicts import conflict_document
from arcgate.control.his.extensions import LARGEST_STATUS, keep_status, settings_of
from arcgate.control.his.heartbeats import LARGEST_HEARTBEAT, keep_report, read_report, read_sighting
from arcgate.control.his.issuing import issue_certificate
from arcgate.control.his.machine_tokens import issue_token
from arcgate.control.his.published import Published
from arcgate.control.his.reports import Reports
from arcgate.control.his.waiting import Goals
from arcgate.control.packages.extension_shelf import publisher_keys
from arcgate.control.polling import read_wait
from arcgate.control.urls import base_url

LARGEST_REQUEST = 64 * 1024
"""Bytes of a body with a certificate request."""
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class AgentService:
    """Handlers of the agent service, over one context."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self._authentication = Authentication(context)
        self._goals = Goals(context, Published(context.store, context.changes))
        self._reports = Reports(context.clock)

    def routes(self) -> list[Route]:
        """Return the routes of the service."""
        return [
            Route("/discovery", self.discover, methods=["GET"]),
            Route("/machine/{machine_id}/certificate", self.certify, methods=["POST"]),
            Route("/machine/{machine_id}/heartbeat", self.hear, methods=["POST"]),
            Route("/machine/{machine_id}/token", self.give_token, methods=["POST"]),
            Route("/machine/{machine_id}/goal", self.tell_goal, methods=["GET"]),
            Route("/machine/{machine_id}/extensions/{extension}/settings", self.tell_settings, methods=["GET"]),
            Route("/machine/{machine_id}/extensions/{extension}/status", self.hear_status, methods=["PUT"]),
            Route("/machine/{machine_id}/publishers", self.tell_publishers, methods=["GET"]),
            Route("/log", self._reports.take, methods=["PUT"]),
        ]

    async def discover(self, request: Request) -> JSONResponse:
        """Tell the endpoint of a region; a machine that came by an extra name keeps to it."""
        cloud = self._context.configuration.cloud
        region = request.query_params.get("location", "").replace(" ", "").lower()
        if region not in cloud.regions:
            raise ApiError(
                400,
                "LocationNotAvailable",
                "There is no such location in this cloud.",
                remedy=f"Use one of: {', '.join(cloud.regions)}.",
                target="location",
            )
        came_by = base_url(request, self._context.configuration)
        extra = {self._context.configuration.url_of(name) for name in cloud.extra_names}
        regional = self._context.configuration.url_of(f"{region}.his.{cloud.domain}")
        return JSONResponse({"region": region, "endpoint": came_by if came_by in extra else regional})

    async def certify(self, request: Request) -> JSONResponse:
        """Give the machine a certificate for its own key."""
        machine = await self._authentication.machine(request)
        document = await read_json_object(request, LARGEST_REQUEST)
        pem = document.get("csr")
        if not isinstance(pem, str):
            raise ApiError(400, "InvalidRequestContent", "The value of 'csr' must be a string.", target="csr")
        return JSONResponse(await issue_certificate(self._context, machine, pem))

    async def hear(self, request: Request) -> JSONResponse:
        """Keep the machine's report."""
        machine = await self._authentication.machine(request)
        document = await read_json_object(request, LARGEST_HEARTBEAT)
        report, sighting = read_report(document), read_sighting(document)
        now, interval = self._context.clock(), self._context.configuration.control.heartbeat_interval
        instances = await keep_report(self._context.store, machine.id, report, now, sighting, interval)
        goal = await self._goals.goal(machine)
        answer: dict[str, Any] = {
            "interval": interval,
            "serverTime": server_time(now),
            "goalRevision": goal.revision,
            "conflict": conflict_document(instances),
        }
        return JSONResponse(answer)

    async def give_token(self, request: Request) -> JSONResponse:
        """Give the machine an access token of its own identity."""
        machine = await self._authentication.machine(request)
        document = await read_json_object(request, LARGEST_REQUEST)
        return JSONResponse(await issue_token(self._context, machine, document), headers=NO_STORE)

    async def tell_goal(self, request: Request) -> Response:
        """Tell the goal when it is newer than the machine's, waiting for that if asked to."""
        after, wait = read_wait(request)
        machine = await self._authentication.machine(request)
        goal = await self._goals.newer(machine, after, wait)
        return Response(status_code=204) if goal is None else JSONResponse(goal.to_json())

    async def tell_settings(self, request: Request) -> JSONResponse:
        """Tell the settings of one of the machine's extensions."""
        machine = await self._authentication.machine(request)
        settings = await settings_of(self._context, machine, request.path_params["extension"])
        return JSONResponse(settings, headers=NO_STORE)

    async def tell_publishers(self, request: Request) -> JSONResponse:
        """Tell the keys of publishers whose extensions the machine may install."""
        await self._authentication.machine(request)
        return JSONResponse({"keys": await asyncio.to_thread(publisher_keys, self._context.configuration)})

    async def hear_status(self, request: Request) -> JSONResponse:
        """Keep what the machine says of one of its extensions."""
        machine = await self._authentication.machine(request)
        document = await read_json_object(request, LARGEST_STATUS)
        name = request.path_params["extension"]
        await keep_status(self._context.store, machine, name, document, self._context.clock())
        return JSONResponse({})


def routes(context: ControlContext) -> list[Route]:
    """Return the routes of the agent service."""
    return AgentService(context).routes()
