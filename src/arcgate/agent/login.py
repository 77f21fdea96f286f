"""Access tokens for the resource manager: service principal, device code, the Azure CLI's, or one brought along."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from arcgate.agent.azure_cli import AzureCli
from arcgate.agent.client_certificate import ASSERTION_TYPE, ClientCertificate
from arcgate.agent.cloud import Cloud
from arcgate.agent.errors import AzcmError
from arcgate.agent.http import problem_of
from arcgate.agent.machine_key import now
from arcgate.net.http_client import Answer, HttpClient

PUBLIC_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
"""Client id of command line tools that keep no secret; the one that every cloud of this API knows."""
DEVICE_CODE_TIMEOUT = 15 * 60
"""Seconds that somebody has to enter the code, whatever the service says."""

_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to get a token.

    Exactly one of access token, service principal, Azure CLI and device code is used, in this order.
    """

    tenant_id: str = ""
    access_token: str = ""
    client_id: str = ""
    client_secret: str = ""
    certificate: ClientCertificate | None = None
    """In place of the service principal's secret."""
    azure_cli: AzureCli | None = None

    def __repr__(self) -> str:
        return f"Credentials(tenant_id={self.tenant_id!r}, client_id={self.client_id!r})"


async def get_token(http: HttpClient, cloud: Cloud, credentials: Credentials, tell: Callable[[str], None]) -> str:
    """Return an access token; `tell` shows the device code's message. Raises AzcmError 12, 16 or 41, or HopError."""
    if credentials.access_token:
        return checked_token(credentials.access_token)
    scope = f"{cloud.resource_manager}//.default"
    if credentials.client_id:
        return await _by_secret(http, cloud, credentials, scope)
    if credentials.azure_cli is not None:
        return checked_token(await credentials.azure_cli.token(f"{cloud.resource_manager}/", credentials.tenant_id))
    return await _by_device_code(http, cloud, credentials, scope, tell)


def checked_token(token: str) -> str:
    """Return the access token; raises AzcmError 12 when no server could have made it."""
    if not token.isascii() or any(one.isspace() or not one.isprintable() for one in token):
        raise AzcmError(
            12,
            "The access token can't be used.",
            cause="it holds characters that no token has",
            remedy="Get a new one, and give it whole.",
        )
    return token


async def _by_secret(http: HttpClient, cloud: Cloud, credentials: Credentials, scope: str) -> str:
    if not credentials.tenant_id:
        raise AzcmError(16, "A service principal needs --tenant-id.", remedy="Add --tenant-id GUID.")
    answer = await _post(
        http,
        _endpoint(cloud, credentials, "token"),
        {
            "grant_type": "client_credentials",
            "client_id": credentials.client_id,
            **_proof(credentials, _endpoint(cloud, credentials, "token")),
            "scope": scope,
        },
    )
    if (token := _token(answer)) is not None:
        return token
    raise AzcmError(
        41,
        "The service principal was not accepted.",
        cause=problem_of(answer).message,
        remedy="Check tenant, client id and secret or certificate of the service principal, and this machine's clock.",
    )


def _proof(credentials: Credentials, endpoint: str) -> dict[str, str]:
    if credentials.certificate is None:
        return {"client_secret": credentials.client_secret}
    assertion = credentials.certificate.assertion(credentials.client_id, endpoint, now())
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}


async def _by_device_code(
    http: HttpClient, cloud: Cloud, credentials: Credentials, scope: str, tell: Callable[[str], None]
) -> str:
    form = {"client_id": PUBLIC_CLIENT, "scope": f"{scope} offline_access openid profile"}
    answer = await _post(http, _endpoint(cloud, credentials, "devicecode"), form)
    document = answer.json()
    if not answer.is_success or not isinstance(document, dict) or not isinstance(document.get("device_code"), str):
        raise AzcmError(41, "The login service gave no device code.", cause=problem_of(answer).message)
    tell(str(document.get("message", "")))
    try:
        async with asyncio.timeout(min(_number(document.get("expires_in"), 900), DEVICE_CODE_TIMEOUT)):
            return await _poll(http, cloud, credentials, document)
    except TimeoutError:
        raise AzcmError(
            41, "Nobody entered the device code in time.", remedy="Run the command again, and enter the new code."
        ) from None


async def _poll(http: HttpClient, cloud: Cloud, credentials: Credentials, document: dict[str, Any]) -> str:
    interval = _number(document.get("interval"), 5)
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": PUBLIC_CLIENT,
        "device_code": document["device_code"],
    }
    while True:
        await asyncio.sleep(interval)
        answer = await _post(http, _endpoint(cloud, credentials, "token"), form)
        if (token := _token(answer)) is not None:
            return token
        problem = problem_of(answer)
        if problem.code == "slow_down":  # RFC 8628 section 3.5
            interval += 5
        elif problem.code != "authorization_pending":
            raise AzcmError(
                41, "The sign-in with the device code failed.", cause=problem.message, remedy="Run the command again."
            )


def _endpoint(cloud: Cloud, credentials: Credentials, name: str) -> str:
    tenant = quote(credentials.tenant_id or "organizations", safe="")
    return f"{cloud.login}/{tenant}/oauth2/v2.0/{name}"


async def _post(http: HttpClient, url: str, form: dict[str, str]) -> Answer:
    return await http.request("POST", url, headers=_FORM, body=urlencode(form).encode("ascii"))


def _token(answer: Answer) -> str | None:
    document = answer.json() if answer.is_success else None
    token = document.get("access_token") if isinstance(document, dict) else None
    return checked_token(token) if isinstance(token, str) and token else None


def _number(value: Any, default: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return min(max(float(value), 0.05), 3600) if is_number else default
