"""Scripts that put the agent onto machines and connect them: POST …/generateOnboardingScript."""

import re
from typing import Literal

from pydantic import Field
from sqlalchemy import select
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.fields import Body, Tags, require_location, require_name
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.packages.clouds import Approach, cloud_name, download_url
from arcgate.control.packages.onboarding import (
    Onboarding,
    render_linux_onboarding,
    render_windows_onboarding,
    tag_argument,
)
from arcgate.control.packages.trust import authorities_pem
from arcgate.control.store.models import GatewayRow
from arcgate.core.errors import InputError
from arcgate.core.guids import is_guid
from arcgate.core.resource_ids import GATEWAY_TYPE, parse_resource_id

READ_MACHINES = "Microsoft.HybridCompute/machines/read"
READ_GATEWAYS = f"{GATEWAY_TYPE}/read"
FILE_NAMES = {"linux": "OnboardingScript.sh", "windows": "OnboardingScript.ps1"}

_PROXY = re.compile(r"https?://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?/?\Z", re.ASCII)


class OnboardingBody(Body):
    """The body of the request; `secretFile` is where the machine keeps the service principal's secret."""

    os: Literal["linux", "windows"]
    resourceGroup: str = Field(min_length=1, max_length=90)  # noqa: N815 - wire name
    location: str = Field(min_length=1, max_length=90)
    gatewayId: str = Field("", max_length=400)  # noqa: N815
    resourceName: str = Field("", max_length=90)  # noqa: N815
    servicePrincipalId: str = Field("", max_length=36)  # noqa: N815
    secretFile: str = Field("", max_length=1000)  # noqa: N815
    proxy: str = Field("", max_length=300)
    cloud: str = Field("", max_length=64)
    tags: Tags = None


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the route of onboarding scripts."""
    path = "/subscriptions/{subscription}/providers/Arcgate.Network/generateOnboardingScript"
    return [arm_route(context, path, {"POST": Verb("", _generate, OnboardingBody)}, ARCGATE)]


async def _generate(call: Call) -> Response:
    body = await call.body(OnboardingBody)
    group = require_name(body.resourceGroup, "resource group")
    scope = f"/subscriptions/{call.subscription_id}/resourcegroups/{group.lower()}"
    call.require(READ_MACHINES, scope)
    one = await _describe(call, body, group)
    script = render_linux_onboarding(one) if body.os == "linux" else render_windows_onboarding(one)
    return JSONResponse({"fileName": FILE_NAMES[body.os], "script": script})


async def _describe(call: Call, body: OnboardingBody, group: str) -> Onboarding:
    configuration = call.context.configuration
    _require(body)
    gateway = await _gateway(call, body.gatewayId) if body.gatewayId else None
    name = gateway.prefix + configuration.gateway_suffix if gateway is not None else ""
    # The gateway takes reports by its own name, too: as a rule nothing else is within reach.
    reports = name or f"gbl.his.{configuration.cloud.domain}"
    return Onboarding(
        tenant_id=call.caller.tenant_id,
        subscription_id=call.subscription_id,
        resource_group=group,
        location=require_location(body.location, configuration),
        cloud=body.cloud or cloud_name(configuration),
        installer_url=f"{download_url(configuration, Approach(gateway_name=name))}/azcmagent-",
        log_url=f"{configuration.url_of(reports)}/log",
        authorities_pem=authorities_pem(configuration, call.context.authority),
        gateway_id=gateway.resource_id if gateway is not None else "",
        resource_name=require_name(body.resourceName, "machine") if body.resourceName else "",
        service_principal_id=body.servicePrincipalId,
        secret_file=body.secretFile,
        proxy=body.proxy,
        tags=body.tags or {},
    )


def _require(body: OnboardingBody) -> None:
    if body.proxy and not _PROXY.match(body.proxy):
        remedy = "Write http://HOST:PORT. A proxy's user and password come by ARCGATE_PROXY where the script runs."
        raise _invalid("proxy", "The proxy is no URL, or holds more than a host and a port.", remedy)
    if body.servicePrincipalId and not is_guid(body.servicePrincipalId):
        raise _invalid("servicePrincipalId", "The service principal's id is no GUID.", "Give its client id.")
    if body.secretFile and not body.servicePrincipalId:
        raise _invalid("secretFile", "A secret needs a service principal.", "Give servicePrincipalId too.")
    try:
        tag_argument(body.tags or {})
    except ValueError as error:
        raise _invalid("tags", f"The {error}.", "Set such tags by the API once machines are connected.") from None


async def _gateway(call: Call, text: str) -> GatewayRow:
    try:
        wanted = parse_resource_id(text, GATEWAY_TYPE)
    except InputError as error:
        raise refuse_input(error, "InvalidGatewayId", "gatewayId") from None
    async with call.context.store.read() as session:
        found = await session.execute(select(GatewayRow).where(GatewayRow.key == wanted.key))
        row = found.scalar_one_or_none()
    if row is None or row.tenant_id != call.caller.tenant_id or not call.caller.permits(READ_GATEWAYS, wanted.key):
        raise ApiError(404, "GatewayNotFound", f"The gateway '{wanted.name}' could not be found.", target="gatewayId")
    return row


def _invalid(target: str, sentence: str, remedy: str) -> ApiError:
    return ApiError(400, "InvalidOnboarding", sentence, remedy=remedy, target=target)
