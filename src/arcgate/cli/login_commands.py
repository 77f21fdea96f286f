"""`arcgate login` and `logout`."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from arcgate.cli.failures import LoginNeeded
from arcgate.cli.outbound import make_client
from arcgate.cli.output import Columns, at, show_list
from arcgate.cli.profile import Profile, ProfileFolder, Tokens
from arcgate.cli.regular_file import Unreadable, read_regular_file
from arcgate.cli.secrets_input import read_secret, refuse_secret_argument
from arcgate.cli.session import SUBSCRIPTIONS, Session, run, with_subscription
from arcgate.cli.sign_in import (
    CloudEndpoints,
    discover_cloud,
    discover_issuer,
    refresh,
    sign_in_with_device_code,
    sign_in_with_secret,
)
from arcgate.core.errors import InputError
from arcgate.core.names import parse_target
from arcgate.core.urls import parse_url
from arcgate.net.http_client import HttpClient

ENDPOINT_VARIABLE = "ARCGATE_ENDPOINT"
LARGEST_CA = 1024 * 1024

SUBSCRIPTION_COLUMNS: Columns = {
    "NAME": at("displayName"),
    "SUBSCRIPTION": at("subscriptionId"),
    "STATE": at("state"),
    "TENANT": at("tenantId"),
    "DEFAULT": at("isDefault"),
}


@click.command("login")
@click.option("--endpoint", metavar="URL", help=f"The ARM endpoint. Default: the last one, or ${ENDPOINT_VARIABLE}.")
@click.option("--ca", type=click.Path(path_type=Path), help="PEM file of authorities to trust for the endpoint.")
@click.option("--connect-to", metavar="HOST:PORT", help="Dial this in place of the endpoint's names, and remember it.")
@click.option("--use-device-code", is_flag=True, help="Sign in as a user with a code, on any device. The default.")
@click.option("--service-principal", is_flag=True, help="Sign in as a service principal.")
@click.option("-u", "--username", metavar="ID", help="Client id of the service principal.")
@click.option("-t", "--tenant", help="Tenant: its GUID or domain.")
@click.option("--password-file", metavar="FILE", help="File with the client secret, 0600; - is standard input.")
@click.option("-p", "--password", callback=refuse_secret_argument, expose_value=False, hidden=True)
def login_command(
    endpoint: str | None,
    ca: Path | None,
    connect_to: str | None,
    use_device_code: bool,
    service_principal: bool,
    username: str | None,
    tenant: str | None,
    password_file: str | None,
) -> None:
    """Log in to a control plane, as a user with a device code or as a service principal.

    The secret of a service principal comes from --password-file, from $ARCGATE_CLIENT_SECRET or from a prompt.
    """
    if service_principal and (use_device_code or not (username and tenant)):
        raise click.UsageError("--service-principal goes with --username ID and --tenant T, not with a device code.")
    if not service_principal and (username or password_file):
        raise click.UsageError("--username and --password-file go with --service-principal.")
    folder = ProfileFolder.find()
    profile = _prepare(folder.load(), endpoint, ca, connect_to)
    secret = read_secret(password_file, os.environ) if service_principal else ""
    subscriptions = run(_login(folder, profile, username or "", secret, tenant or ""))
    show_list(subscriptions, None, SUBSCRIPTION_COLUMNS)
    if not subscriptions:
        click.echo("You are logged in, but no subscription is yours yet: ask for a role.", err=True)


def _prepare(profile: Profile, endpoint: str | None, ca: Path | None, connect_to: str | None) -> Profile:
    """Return the profile to log in with: what is given wins over what is remembered for the same endpoint."""
    given = endpoint or os.environ.get(ENDPOINT_VARIABLE) or profile.endpoint
    if not given:
        raise click.UsageError("--endpoint URL is needed for the first login: https://management.<domain>")
    wanted = _normal_endpoint(given)
    fresh = profile if wanted == profile.endpoint else Profile(endpoint=wanted)
    if ca is not None:
        fresh = replace(fresh, ca=_read_ca(ca))
    if connect_to is not None:
        fresh = replace(fresh, address=parse_target(connect_to).authority if connect_to else "")
    return fresh


def _normal_endpoint(text: str) -> str:
    url = parse_url(text if "://" in text else f"https://{text}")
    if not url.is_tls or url.path != "/" or url.user:
        raise InputError("EndpointInvalid", f"{url} is not an endpoint.", remedy="Write https://HOST or HOST.")
    return url.origin


def _read_ca(path: Path) -> str:
    try:
        text = read_regular_file(path, LARGEST_CA).data.decode("ascii")
    except (Unreadable, UnicodeDecodeError) as error:
        raise InputError("CaUnusable", f"{path} can't be used.", cause=f"it {error}") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise InputError("CaUnusable", f"{path} holds no certificates in PEM form.", remedy="Name the CA's PEM file.")
    return text


async def _login(folder: ProfileFolder, profile: Profile, client_id: str, secret: str, tenant: str) -> list[Any]:
    client = make_client(profile.address, profile.ca)
    cloud = await discover_cloud(client, profile.endpoint)
    profile = replace(profile, login=cloud.login, audience=cloud.audience)
    if secret:
        issuer = await discover_issuer(client, cloud.login, tenant)
        tokens = await sign_in_with_secret(client, issuer, cloud.audience, client_id, secret, time.time())
        profile = replace(profile, tenant_id=tenant, user=client_id, user_type="servicePrincipal")
    else:
        profile, tokens = await log_in_user(folder, profile, client, cloud, tenant)
    return await choose_subscription(Session(folder, profile, tokens, client))


async def log_in_user(
    folder: ProfileFolder,
    profile: Profile,
    client: HttpClient,
    cloud: CloudEndpoints,
    tenant: str = "",
    announce: Callable[[str, str], None] | None = None,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Profile, Tokens]:
    """Sign a user in with a device code, in the tenant given or the user's first; raises ApiFailure or HopError."""
    issuer = await discover_issuer(client, cloud.login, tenant or "organizations")
    tokens = await sign_in_with_device_code(client, issuer, cloud.audience, announce or _announce, time.time, wait)
    profile = replace(profile, tenant_id=tenant, user="", user_type="user")
    session = Session(folder, profile, tokens, client)
    tenants = await session.list_all("/tenants", SUBSCRIPTIONS)
    if tenants:
        profile = replace(profile, tenant_id=str(tenants[0]["tenantId"]))
        issuer = await discover_issuer(client, cloud.login, profile.tenant_id)
        tokens = await refresh(client, issuer, cloud.audience, tokens, time.time())
    return replace(profile, user=_name_in(tokens)), tokens


def _announce(message: str, code: str) -> None:
    click.echo(message or f"Approve the code {code}: arcgate device approve {code}", err=True)


def _name_in(tokens: Tokens) -> str:
    """Return whose token it is, for display only: nothing is decided by it."""
    try:
        middle = tokens.access_token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return str(claims.get("upn") or claims.get("oid") or "")
    except (IndexError, ValueError, AttributeError, RecursionError):
        return ""


async def choose_subscription(session: Session) -> list[Any]:
    """Store the session with its first subscription (or the one it had) as the current one; return all of them."""
    subscriptions = await session.list_all("/subscriptions", SUBSCRIPTIONS)
    kept = [one for one in subscriptions if one["subscriptionId"] == session.profile.subscription_id]
    profile = replace(session.profile, subscription_id="", subscription_name="")
    if subscriptions:
        profile = with_subscription(profile, (kept or subscriptions)[0])
    session.profile = profile
    session.folder.save(profile)
    session.folder.save_tokens(session.tokens)
    return [mark_default(one, profile) for one in subscriptions]


def mark_default(subscription: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """Return a subscription with whether it is the profile's current one."""
    return {**subscription, "isDefault": subscription["subscriptionId"] == profile.subscription_id}


@click.command("logout")
def logout_command() -> None:
    """Forget the tokens; the endpoint is remembered."""
    if not ProfileFolder.find().forget():
        raise LoginNeeded
